"""Labels as other programs and systems leave them are read, or refused with what to do."""

from __future__ import annotations

import gzip
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import FormatError
from vidapt.formats import detect, open_samples
from vidapt.nouns import Sample
from vidapt.video import Uniform, decode

QA = {"video": "a.mp4", "question": "what?", "answer": "x"}
TALK = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "a.mp4").write_bytes(b"x")
    return tmp_path


def put(path: Path, rows: list[Any]) -> Path:
    text = json.dumps(rows) if ".json" in path.suffixes else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(path: Path, rows: list[Any], kind: str | None = None, **options: Any) -> list[Sample]:
    return list(open_samples(put(path, rows), kind, **options))


def refused(path: Path, rows: list[Any], kind: str | None = None) -> str:
    with pytest.raises(FormatError) as error:
        read(path, rows, kind)
    return str(error.value)


# Mixed lists


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([{"conversations": TALK}, {"conversations": TALK, "video": "a.mp4"}], "llava_json"),
        ([{"conversations": TALK}] * 500 + [{"conversations": TALK, "image": "a.mp4"}], "llava_json"),
        ([{"conversations": TALK}, {"conversations": TALK, "videos": ["a.mp4"]}], "sharegpt"),
        ([{"media": [], "question": "q", "answer": "a"}, QA], "vidapt_jsonl"),
    ],
)
def test_the_first_row_may_be_text_alone(data: Path, rows: list[Any], kind: str) -> None:
    path = put(data / "l.json", rows)
    assert detect(path) == kind
    samples = list(open_samples(path))
    assert [len(sample.media) for sample in samples] == [0] * (len(rows) - 1) + [1]


def test_what_no_row_tells_can_be_named(data: Path) -> None:
    said = refused(data / "l.json", [{"conversations": TALK}] * 2)
    assert "a row of conversations may be llava_json or sharegpt" in said
    assert "name it: --format KIND, or the `format` of a recipe's source" in said
    assert len(read(data / "l.json", [{"conversations": TALK}] * 2, "sharegpt")) == 2


def test_a_row_without_a_clip_is_told_what_it_lacks(data: Path) -> None:
    said = refused(data / "l.jsonl", [{"question": "q", "answer": "a"}, QA])
    assert "l.jsonl:1: exactly one of 'video' and 'media' is needed" in said
    assert '"media": []' in said


@pytest.mark.parametrize(
    "words",
    [
        ["eval", "billiards-home", "--out", "out", "--data"],
        ["match", "--model", "billiards-home", "--data"],
    ],
)
def test_commands_that_read_labels_take_their_format(
    data: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    put(data / "l.json", [{"conversations": TALK}])
    told = CliRunner().invoke(app, [*words, "l.json"])
    assert "may be llava_json or sharegpt" in told.output
    named = CliRunner().invoke(app, [*words, "l.json", "--format", "video_instruct"])
    assert "l.json:1: the key 'video_id' is missing" in named.output


# Compressed


@pytest.mark.parametrize("name", ["l.jsonl.gz", "l.json.gz", "l.ndjson.gz"])
def test_compressed_lists_are_read(data: Path, name: str) -> None:
    assert [sample.answer for sample in read(data / name, [QA, {**QA, "answer": "y"}])] == ["x", "y"]


def test_what_cannot_be_decompressed_is_told(data: Path) -> None:
    whole = put(data / "l.jsonl.gz", [QA] * 1000).read_bytes()
    for damaged in (whole[:-20], b"no gzip", whole[:30] + b"\0" * 30 + whole[60:]):
        (data / "l.jsonl.gz").write_bytes(damaged)
        with pytest.raises(FormatError, match=r"l\.jsonl\.gz(:\d+)?: (cannot be decompressed|broken JSON)"):
            list(open_samples(data / "l.jsonl.gz", "vidapt_jsonl"))


def test_a_file_that_unpacks_to_more_than_is_read_is_refused(data: Path) -> None:
    (data / "l.json.gz").write_bytes(gzip.compress(b"[" + b" " * 50_000_000))
    with pytest.raises(FormatError, match="more than the 1,000,000 read at once"):
        list(open_samples(data / "l.json.gz", "vidapt_jsonl", max_bytes=1_000_000))
    (data / "l.jsonl.gz").write_bytes(gzip.compress(b'{"a": "' + b"x" * 50_000_000))
    with pytest.raises(FormatError, match=r"l\.jsonl\.gz:1: a row of more than"):
        list(open_samples(data / "l.jsonl.gz", "vidapt_jsonl"))


# ms-swift and LLaMA-Factory


@pytest.fixture
def frames(data: Path) -> list[str]:
    (data / "clip").mkdir()
    for number in (1, 2, 10):
        Image.fromarray(np.full((8, 8, 3), number * 20, np.uint8)).save(data / "clip" / f"f{number}.png")
    return [f"clip/f{number}.png" for number in (1, 2, 10)]


def test_a_video_may_be_the_list_of_its_frames(data: Path, frames: list[str]) -> None:
    parts = [{"type": "video", "video": frames}, {"type": "text", "text": "q"}]
    rows: list[Any] = [
        {"messages": CHAT, "videos": [frames]},
        {"messages": CHAT, "videos": ["a.mp4", [f"file://{frame}" for frame in frames]]},
        {"messages": [{"role": "user", "content": parts}, CHAT[1]]},
        {"messages": CHAT, "videos": [[frame.replace("/", "\\") for frame in frames]]},
    ]
    for sample in read(data / "l.json", rows, "sharegpt"):
        assert sample.media[-1].path == data / "clip"
    seen = decode(sample.media[-1], Uniform(count=3))
    assert seen.pixels[:, 0, 0, 0].tolist() == [20, 40, 200]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ([0, 2], "2 frames are not all pictures of 'clip' in their order"),
        ([2, 1, 0], "3 frames are not all pictures of 'clip' in their order"),
        ([0, 1, 3], "the frames of a clip lie in 2 folders"),
    ],
)
def test_frames_that_are_no_folder_are_told_what_to_do(
    data: Path, frames: list[str], chosen: list[int], said: str
) -> None:
    named = [[*frames, "a.mp4"][index] for index in chosen]
    told = refused(data / "l.json", [{"messages": CHAT, "videos": [named]}], "sharegpt")
    assert f"l.json:1: {said}" in told
    assert "put the frames of each clip into a folder of their own" in told


def test_frames_that_are_missing_are_named_by_their_folder(data: Path) -> None:
    told = refused(data / "l.json", [{"messages": CHAT, "videos": [["gone/1.png", "gone/2.png"]]}])
    assert "1 of 1 media files are missing" in told
    assert str(data / "gone") in told


@pytest.mark.parametrize("tools", ["[]", " [] ", "{}", "null", "", [], None])
def test_no_tools_are_no_tools(data: Path, tools: Any) -> None:
    assert len(read(data / "l.json", [{"messages": CHAT, "tools": tools}])) == 1
    assert "'tools' cannot be learnt from" in refused(
        data / "l.json", [{"messages": CHAT, "tools": '[{"name": "f"}]'}]
    )


# Other systems


def test_backslashes_of_windows(data: Path) -> None:
    (data / "clips").mkdir()
    (data / "clips" / "b.mp4").write_bytes(b"x")
    (sample,) = read(data / "l.jsonl", [{**QA, "video": "clips\\b.mp4"}])
    assert sample.media[0].path == data / "clips" / "b.mp4"
    (moved,) = read(data / "l.json", [{"messages": CHAT, "videos": ["D:\\data\\old\\a.mp4"]}])
    assert moved.media[0].path == data / "a.mp4"
    (data / "c\\d.mp4").write_bytes(b"x")  # a name of this system
    (kept,) = read(data / "l.jsonl", [{**QA, "video": "c\\d.mp4"}])
    assert kept.media[0].path == data / "c\\d.mp4"


@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_accents_of_other_systems(data: Path, written: Any) -> None:
    name = "Übung é 한.mp4"
    other = {"NFC": "NFD", "NFD": "NFC"}[written]
    (data / unicodedata.normalize(written, name)).write_bytes(b"x")
    given = unicodedata.normalize(other, name)  # type: ignore[arg-type]
    (sample,) = read(data / "l.jsonl", [{**QA, "video": given}])
    assert sample.media[0].path.is_file()
    rows = [{"q": "q", "a": "a", "video_id": given.removesuffix(".mp4")}]
    (shelf,) = read(data / "l.json", rows)
    assert shelf.media[0].path.is_file()


def test_a_text_beside_a_clip_may_be_of_another_system(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "é.mp4")).write_bytes(b"x")
    (tmp_path / unicodedata.normalize("NFC", "é.txt")).write_text("a ball")
    (sample,) = open_samples(tmp_path)
    assert sample.answer == "a ball"
