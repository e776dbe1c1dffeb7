"""Writing vidapt's own labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vidapt.errors import FormatError
from vidapt.formats import open_samples
from vidapt.formats.vidapt_jsonl import write
from vidapt.nouns import Clip, Sample, Turn


def sample(folder: Path, name: str = "1", question: str = "q") -> Sample:
    clip = Clip("a.mp4", folder / "a.mp4")
    return Sample(name, (clip,), (Turn("user", question), Turn("assistant", "a")))


def test_paths_inside_are_written_relative_and_others_absolute(tmp_path: Path) -> None:
    inside, outside = tmp_path / "data" / "clips" / "a.mp4", tmp_path / "b.mp4"
    inside.parent.mkdir(parents=True)
    inside.touch()
    outside.touch()
    path = tmp_path / "data" / "l.jsonl"
    media = (Clip("clips/a.mp4", inside), Clip("B", outside, 1.0, 2.5))
    assert write(path, [replace(sample(tmp_path), media=media)]) == 1
    assert '{"path": "clips/a.mp4"}' in path.read_text()
    assert f'{{"path": "{outside}", "start_s": 1.0, "end_s": 2.5, "id": "B"}}' in path.read_text()
    assert next(open_samples(path)).media == media


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"turns": ()}, "does not end with an answer"),
        ({"turns": (Turn("user", "<image> q"), Turn("assistant", "a"))}, "would be read back as"),
        ({"turns": (Turn("user", "<video><video>"), Turn("assistant", "a"))}, "2 media mark"),
        ({"facts": {"seen": {1, 2}}}, "cannot be written as JSON"),
        ({"facts": {"time": float("nan")}}, "cannot be written as JSON"),
        ({"id": "0"}, "the id '0' is given to two samples"),
        ({"id": ""}, "'id' is empty"),
    ],
)
def test_sample_that_cannot_be_read_back_leaves_the_old_file(
    tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text("old")
    bad = replace(sample(tmp_path), **change)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=r"l\.jsonl:2: ") as caught:
        write(path, [sample(tmp_path, "0"), bad])
    assert expected in str(caught.value)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["l.jsonl"]


def test_tuples_in_facts_come_back_as_lists(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    write(tmp_path / "l.jsonl", [replace(sample(tmp_path), facts={"accept": ("a", "b")})])
    assert next(open_samples(tmp_path / "l.jsonl")).facts == {"accept": ["a", "b"]}


def test_no_samples_make_an_empty_file(tmp_path: Path) -> None:
    assert write(tmp_path / "l.jsonl", []) == 0
    assert (tmp_path / "l.jsonl").read_bytes() == b""
