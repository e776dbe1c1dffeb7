"""Folders of clips and texts with places in them that may not be looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidapt.errors import FormatError
from vidapt.formats import open_samples


def test_a_clip_that_may_not_be_looked_at_is_left_to_whoever_decodes_it(
    open_path: Path, unprivileged: None
) -> None:
    clips, walled = open_path / "clips", open_path / "walled"
    for folder in (clips, walled):
        folder.mkdir()
    for name in ("a", "b"):
        (clips / f"{name}.txt").write_text(f"{name}.\n")
    (clips / "a.mp4").touch()
    (clips / "b.mp4").symlink_to(walled / "b.mp4")
    walled.chmod(0)
    try:
        assert [sample.id for sample in open_samples(clips)] == ["a.mp4", "b.mp4"]
    finally:
        walled.chmod(0o755)


def test_a_folder_that_may_not_be_entered_says_so(open_path: Path, unprivileged: None) -> None:
    (open_path / "clips").mkdir()
    (open_path / "clips" / "a.mp4").touch()
    (open_path / "clips").chmod(0o600)
    try:
        with pytest.raises(FormatError, match="cannot be read: Permission denied"):
            list(open_samples(open_path / "clips"))
    finally:
        (open_path / "clips").chmod(0o755)
