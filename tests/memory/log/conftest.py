"""Let the tests of the log import what they share, simulated_disk.py and workload.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
