"""Where things are, and how tests type a command."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def command(*words: object, **options: object) -> subprocess.CompletedProcess:
    """Run one of the root scripts as a user does, without a network."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, env=environment, text=True, capture_output=True, **options
    )
