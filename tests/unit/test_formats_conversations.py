"""Conversations as LLaVA, ShareGPT and ms-swift write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from format_tools import chat, llava, put, read, refused

from vidapt.formats import detect
from vidapt.nouns import Turn


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "c.png"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_llava_rows_with_stills_videos_several_and_none(data: Path) -> None:
    path = put(
        data / "l.json",
        llava("<image>\nwhat?", "a", "and?", "b", id=5, image="c.png", width=3),
        llava("<image> and <image>", "a", video=["a.mp4", "b.mp4"]),
        llava("<video>then <image>", "a", video="a.mp4", image="c.png"),
        llava("hello", "hi"),
    )
    first, second, third, text = read(path, "llava_json")
    assert (first.id, first.turns[0].text, len(first.turns)) == ("5", "<video>\nwhat?", 4)
    assert second.turns[0].text == "<video> and <video>"
    assert [c.id for c in second.media] == ["a.mp4", "b.mp4"]
    assert [c.id for c in third.media] == ["a.mp4", "c.png"]
    assert text.media == ()


def test_llava_lines_are_read_like_a_list(data: Path) -> None:
    row = llava("<video>q", "a", id="1", video="a.mp4")
    listed, lines = (read(put(data / name, row), "llava_json")[0] for name in ("l.json", "l.jsonl"))
    assert (listed.turns, listed.media) == (lines.turns, lines.media)


def test_repeated_ids_of_published_files_get_ids_of_their_own(data: Path) -> None:
    rows = [llava("q", "a", id=name) for name in ("1", "1#2", "1", "1")]
    ids = [s.id for s in read(put(data / "l.json", *rows), "llava_json")]
    assert ids == ["1", "1#2", "1#3", "1#4"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"video": "a.mp4", "conversation": []}, "did you mean 'conversations'?"),
        ({"video": "a.mp4"}, "'conversations' is missing"),
        (llava("<video>q", "a", vidoe="a.mp4"), "did you mean 'video'?"),
        (llava("<video>q", "a"), "1 media mark(s), the sample 0 clip(s)"),
        (llava("<image><image>q", "a", image="c.png"), "2 media mark(s), the sample 1 clip(s)"),
        (llava("<video>q", "a", video=["a.mp4", "b.mp4"]), "1 media mark(s), the sample 2 clip(s)"),
        (llava("<video><video>", "a", video="a.mp4", image="c.png"), "0 <image> and 2 <video> marks"),
        (llava("q", "see <video>", video="a.mp4"), "turn 2, an answer, holds a <video> mark"),
        (
            llava("<image>", "<video>", video="a.mp4", image="c.png"),
            "turn 2, an answer, holds a <video> mark",
        ),
        (llava("q", "a", "r", "<image>", image="c.png"), "turn 4, an answer, holds a <image> mark"),
        (llava("q", "", video="a.mp4"), "'value' is empty"),
        ({"conversations": [{"from": "gpt", "value": "a"}]}, "turn 1 is by the assistant"),
        ({"conversations": [{"from": "human", "value": "a"}] * 2}, "turn 2 is by the user"),
        ({"conversations": [{"from": "humans", "value": "a"}]}, "did you mean 'human'?"),
        (llava("q", "a", video=["a.mp4", 3]), "'video' is 3, not text"),
    ],
)
def test_unsound_llava_row_is_refused_with_its_line(data: Path, row: Any, expected: str) -> None:
    message = refused(put(data / "l.json", llava("q", "a"), row), "llava_json")
    assert expected in message
    assert message.startswith(f"{data / 'l.json'}:3: ")


def test_sharegpt_system_conversations_and_preference(data: Path) -> None:
    path = put(
        data / "l.json",
        chat("q", "a", system="be brief.", images=None, tools=""),
        {
            "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
            "videos": ["a.mp4"],
        },
        {
            "conversations": [{"from": "human", "value": "<video>q"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
            "videos": ["a.mp4"],
        },
    )
    system, renamed, pair = read(path, "sharegpt")
    assert system.turns[0] == Turn("system", "be brief.")
    assert renamed.turns == (Turn("user", "q"), Turn("assistant", "a"))
    assert (pair.answer, pair.rejected) == ("good", "bad")


def test_sharegpt_orders_stills_and_videos_by_their_marks(data: Path) -> None:
    row = chat("<image> <video> <video>", "a", videos=["a.mp4", "b.mp4"], images=["c.png"])
    (sample,) = read(put(data / "l.json", row), "sharegpt")
    assert [c.id for c in sample.media] == ["c.png", "a.mp4", "b.mp4"]
    assert sample.turns[0].text == "<video> <video> <video>"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (chat("q", "a", audios=["a.wav"]), "'audios' cannot be learnt from"),
        (chat("<video>q", "a", video="a.mp4"), "did you mean 'videos'?"),
        (chat("q", "a", chosen={"role": "assistant", "content": "x"}), "'rejected' is missing"),
        (chat("q", "a <video>", videos=["a.mp4"]), "turn 2, an answer, holds a <video> mark"),
        (
            chat(
                "q", **{k: {"role": "assistant", "content": f"{k} <video>"} for k in ("chosen", "rejected")}
            ),
            "what was rejected holds a <video> mark",
        ),
        ({"messages": [{"role": "tool", "content": "q"}]}, "unknown role 'tool'"),
        ({"messages": {"role": "user"}}, "'messages' is {'role': 'user'}, not a list"),
        ({"videos": ["a.mp4"]}, "'messages' is missing"),
    ],
)
def test_unsound_sharegpt_row_is_refused(data: Path, row: Any, expected: str) -> None:
    message = refused(put(data / "l.json", chat("q", "a"), row), "sharegpt")
    assert expected in message
    assert message.startswith(f"{data / 'l.json'}:3: ")


def part(kind: str, value: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **({} if value is None else {kind: value}), **more}


def parts_of(*content: Any, answer: Any = "a", **more: Any) -> dict[str, Any]:
    """A row of ms-swift whose question is a list of parts."""
    turns = [{"role": "user", "content": list(content)}, {"role": "assistant", "content": answer}]
    return {"messages": turns, **more}


SWIFT = [
    parts_of(part("image", "c.png"), part("text", "Describe it.")),
    parts_of(part("video", "a.mp4"), part("text", "Describe it.")),
    parts_of(part("text", "Describe it."), part("video", "file://ROOT/a.mp4")),
    parts_of(part("image_url", {"url": "c.png"}), part("text", "Describe it.")),
    parts_of(part("video_url", "a.mp4"), part("text", "Describe it."), answer=[part("text", "a")]),
    parts_of(part("video", path="a.mp4"), part("text", "Describe it.")),
    parts_of(part("video"), part("text", "Describe it."), videos=["a.mp4"]),
    chat("<image>Describe it.", "a", images=[{"path": "c.png"}]),
    chat("<image>Describe it.", "a", images=[{"bytes": None, "path": "c.png"}]),
    chat("<image>Describe it.", "a", images={"bytes": None, "path": "c.png"}),
    chat("<video>Describe it.", "a", videos=[{"path": "a.mp4"}]),
    chat("<video>Describe it.", "a", videos="a.mp4"),
]


@pytest.mark.parametrize("name", ["l.json", "l.jsonl"])
@pytest.mark.parametrize("row", SWIFT, ids=range(len(SWIFT)))
def test_every_way_of_ms_swift_to_name_a_medium(data: Path, row: Any, name: str) -> None:
    row = json.loads(json.dumps(row).replace("ROOT", str(data)))
    path = put(data / name, row)
    assert detect(path) == "sharegpt"
    (sample,) = read(path, "sharegpt")
    still = "image" in json.dumps(row)
    assert [clip.path for clip in sample.media] == [data / ("c.png" if still else "a.mp4")]
    last = row["messages"][0]["content"][0] == part("text", "Describe it.")
    assert sample.turns[0].text == ("Describe it.<video>" if last else "<video>Describe it.")
    assert sample.answer == "a"


def test_parts_of_both_kinds_keep_their_places(data: Path) -> None:
    row = parts_of(
        part("text", "First "),
        part("video", "b.mp4"),
        part("text", "\n"),
        part("image", "c.png"),
        part("text", " then "),
        part("video", "a.mp4"),
    )
    (sample,) = read(put(data / "l.jsonl", row), "sharegpt")
    assert [clip.id for clip in sample.media] == ["b.mp4", "c.png", "a.mp4"]
    assert sample.turns[0].text == "First <video>\n<video> then <video>"


def test_a_conversation_as_ms_swift_documents_it(data: Path) -> None:
    turns = [
        {"role": "system", "content": "You are a helpful and harmless assistant."},
        {"role": "user", "content": "<image>What is in the image, <video>What is in the video?"},
        {"role": "assistant", "content": "An elephant, and a puppy.", "loss": True},
        {"role": "user", "content": [part("text", "And now?")]},
        {"role": "assistant", "content": "Nothing."},
    ]
    row = {"messages": turns, "images": ["c.png"], "videos": ["a.mp4"], "rejected_response": "I don't know"}
    (sample,) = read(put(data / "l.jsonl", row), "sharegpt")
    assert [turn.role for turn in sample.turns] == ["system", "user", "assistant", "user", "assistant"]
    assert [clip.id for clip in sample.media] == ["c.png", "a.mp4"]
    assert (sample.answer, sample.rejected) == ("Nothing.", "I don't know")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (parts_of(part("audio", "a.wav"), part("text", "q")), "a part of type 'audio' cannot be learnt from"),
        (parts_of(part("imgae", "c.png")), "did you mean 'image'?"),
        (parts_of("q"), "a part of 'content' is 'q', not an object"),
        (parts_of({"image": "c.png"}), "'type' is missing"),
        (parts_of(part("text")), "'text' is missing"),
        (parts_of(part("text", 3)), "'text' is 3, not text"),
        (parts_of(), "'content' is empty"),
        (parts_of(part("image", 3)), "'image' is 3, not text"),
        (parts_of(part("image", {"id": 3})), "'image' is {'id': 3}, not text"),
        (parts_of(part("image", ["1.jpg", "2.jpg"])), "holds a list in place of a path"),
        (parts_of(part("image", "data:image/png;base64,AAAA")), "holds a file itself"),
        (parts_of(part("image", "https://x.y/c.png")), "is not a path of a file"),
        (parts_of(part("image", "c.png"), images=["c.png"]), "there are 'images' as well"),
        (parts_of(part("image"), part("text", "q")), "the text has 1 media mark(s), the sample 0 clip(s)"),
        (parts_of(part("text", "q"), answer=[part("image", "c.png")]), "an answer, holds a <image> mark"),
        (chat("q", "a", images=[{"bytes": "AAAA", "path": None}]), "'images' holds a file itself"),
        (chat("q", "a", images=[["1.jpg"]]), "holds a list in place of a path"),
        (chat("q", "a", objects={"bbox": [[1, 2, 3, 4]]}), "'objects' cannot be learnt from"),
        (chat("q", "a", label=False), "'label' says that the answer is a bad one"),
        (chat("q", "a", rejected_response=""), "'rejected_response' is empty"),
        (
            {"messages": [*chat("q")["messages"], {"role": "assistant", "content": "a", "loss": False}]},
            "'loss' says that an answer is not to be learned",
        ),
    ],
)
def test_unsound_rows_of_ms_swift_are_refused_with_their_line(data: Path, row: Any, expected: str) -> None:
    message = refused(put(data / "l.jsonl", chat("q", "a"), chat("q", "a"), row), "sharegpt")
    assert expected in message
    assert message.startswith(f"{data / 'l.jsonl'}:3: ")


def test_videos_of_instruct_rows_are_found_by_id(data: Path) -> None:
    (data / "v_1.mkv").touch()
    (data / "v_2.x.MP4").touch()
    (data / "v_1.txt").touch()
    path = put(data / "l.json", *({"q": "q", "a": "a", "video_id": name} for name in ("v_1", "v_2.x", "v_1")))
    samples = read(path, "video_instruct")
    assert [s.media[0].path.name for s in samples] == ["v_1.mkv", "v_2.x.MP4", "v_1.mkv"]
    assert [s.media[0].id for s in samples] == ["v_1", "v_2.x", "v_1"]
    assert len({s.id for s in samples}) == 3


def test_instruct_ids_without_or_with_two_videos_are_refused(data: Path) -> None:
    row = {"q": "q", "a": "a", "video_id": "v_1"}
    path = put(data / "l.json", row)
    assert f"{data / 'v_1'}" in refused(path, "video_instruct")
    (data / "v_1.mkv").touch()
    (data / "v_1.mp4").touch()
    assert "two videos: v_1.mkv and v_1.mp4" in refused(path, "video_instruct")
    assert "'a' is missing" in refused(put(data / "l.json", {"q": "q", "video_id": "v"}), "video_instruct")
