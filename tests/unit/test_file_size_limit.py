"""A limit on the size of files is told as a full disk is, whichever library meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SAVE = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from vidapt.errors import VidaptError
from vidapt.files import write_file, write_folder

out, how = Path(sys.argv[1]), sys.argv[2]
tensors = {"x": torch.zeros(1_000_000)}
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
try:
    if how == "safetensors":
        write_file(out, lambda path: save_file(tensors, str(path)))
    else:
        with write_folder(out) as folder:
            if how == "torch":
                torch.save(tensors, folder / "x.pt")
            else:
                (folder / "x").write_bytes(bytes(4_000_000))
except VidaptError as error:
    print(error)
"""


@pytest.mark.parametrize("how", ["safetensors", "torch", "bytes"])
def test_a_file_size_limit_is_told(tmp_path: Path, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SAVE, str(tmp_path / "out"), how], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'out'}: grew larger than a file may be here" in done.stdout
    assert "ulimit -f" in done.stdout
    assert list(tmp_path.iterdir()) == []
