"""Train pocket from nothing: python -m training --out runs/pocket (about three hours on 2 cores).

Seeded and resumable: run it again after a stop and it goes on from the last checkpoint (weights and minutes; the
optimisers' moments start afresh).  Needs the repository, not an installed wheel: pip install -e '.[cpu]' first.
"""

import argparse
from pathlib import Path

from . import export, train_language, train_vision


def main() -> None:
    """Run both stages, then write the model folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vision-minutes", type=float, default=52)
    parser.add_argument("--language-minutes", type=float, default=130)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/pocket"), help="checkpoints and logs")
    parser.add_argument("--model", type=Path, default=Path("models/pocket"), help="where the finished model goes")
    args = parser.parse_args()
    common = ["--out", str(args.out), "--seed", str(args.seed)]
    train_vision.main(["--minutes", str(args.vision_minutes), *common])
    train_language.main(["--minutes", str(args.language_minutes), *common])
    export.main(["--run", str(args.out), "--out", str(args.model)])


if __name__ == "__main__":
    main()
