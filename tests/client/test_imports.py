"""The client runs where nothing of Onlooker's is installed but numpy and websockets."""

import subprocess
import sys
from pathlib import Path

BLOCKED = ("torch", "transformers", "cv2", "PIL", "faiss", "decord", "safetensors", "huggingface_hub", "typer")

SCRIPT = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None  # importing it fails
{{code}}
assert not [name for name in {BLOCKED!r} if sys.modules.get(name) is not None]
"""

USE = """
import numpy as np
import onlooker.client
from onlooker.client.encoding import Encoder

data = Encoder().encode(np.zeros((4, 6, 3), np.uint8), 1000)
assert data.startswith(b"\\x89PNG"), data
try:
    onlooker.client.connect("http://127.0.0.1:1/#token=abc")
except onlooker.OnlookerError as error:
    print(type(error).__name__)
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT.format(code=code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_client_is_imported_and_used_without_the_rest() -> None:
    assert run(USE) == "ProtocolError"


def test_the_protocol_needs_the_standard_library_alone() -> None:
    folder = Path(__file__).resolve().parents[2] / "stream" / "protocol"
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    assert {"connection", "client_connection", "client_events", "server_events"} <= set(names)
    lines = ["for name in ('numpy', 'websockets'): sys.modules[name] = None"]
    lines += [f"import onlooker.stream.protocol.{name}" for name in names]
    lines += ["assert 'asyncio' not in sys.modules and 'socket' not in sys.modules"]
    assert run("\n".join(lines)) == ""
