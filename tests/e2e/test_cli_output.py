"""Output that cannot be written is told, and is no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize("asked", ["recipes", "--version"])
def test_a_full_disk_behind_the_output_is_told(asked: str) -> None:
    with FULL.open("w") as full:
        command = [sys.executable, "-c", "from vidapt.cli import main; main()", asked]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert done.returncode == 2
    assert done.stderr.strip() == "error: the output cannot be written: No space left on device"
