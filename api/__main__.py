"""Run the command line as `python -m onlooker`."""

from .cli.main import run

if __name__ == "__main__":
    run()
