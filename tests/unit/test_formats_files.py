"""The formats that are one label file: what each reads, and what each refuses."""

from __future__ import annotations

import errno
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vidapt import parts
from vidapt.errors import ConfigError, FormatError
from vidapt.formats import check, detect, open_samples
from vidapt.formats._scan import json_rows
from vidapt.nouns import Sample, Turn


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "c.png"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def put(path: Path, *rows: Any) -> Path:
    """JSON lines or a JSON list with one row per line, by the suffix."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text(
        "\n".join(lines) if path.suffix == ".jsonl" else "[\n" + ",\n".join(lines) + "\n]", encoding="utf-8"
    )
    return path


def read(path: Path, kind: str, **config: Any) -> list[Sample]:
    return list(open_samples(path, kind, **config))


def refused(path: Path, kind: str | None = None, **config: Any) -> str:
    with pytest.raises(FormatError) as caught:
        list(open_samples(path, kind, **config))
    return str(caught.value)


def llava(*values: str, **more: Any) -> dict[str, Any]:
    roles = ("human", "gpt")
    return {"conversations": [{"from": roles[i % 2], "value": v} for i, v in enumerate(values)], **more}


def chat(*contents: str, **more: Any) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)], **more}


QA = {"video": "a.mp4", "question": "what colour?", "answer": "red"}


# --- vidapt_jsonl ---------------------------------------------------------------------------------------


def test_question_row_becomes_two_turns_with_its_line_and_facts(data: Path) -> None:
    row = {
        **QA,
        "id": "q1",
        "rejected": "blue",
        "facts": {"type": "colour", "accept": ["red", "the red one"]},
    }
    (sample,) = read(put(data / "l.jsonl", row), "vidapt_jsonl")
    assert sample.turns == (Turn("user", "what colour?"), Turn("assistant", "red"))
    assert (sample.id, sample.rejected, sample.source) == ("q1", "blue", f"{data / 'l.jsonl'}:1")
    assert sample.facts == {"type": "colour", "accept": ["red", "the red one"]}
    assert sample.media[0].path == data / "a.mp4"
    assert sample.media[0].id == "a.mp4"


def test_caption_row_is_asked_for_by_the_caption_prompt(data: Path) -> None:
    path = put(data / "l.jsonl", {"video": "a.mp4", "caption": "a ball."})
    assert read(path, "vidapt_jsonl")[0].turns[0].text == "describe the video."
    assert read(path, "vidapt_jsonl", caption_prompt="tell me.")[0].turns[0].text == "tell me."


def test_segments_of_one_file_are_clips_of_their_own(data: Path) -> None:
    media = [{"path": "a.mp4", "end_s": 2}, {"path": "a.mp4", "start_s": 2, "end_s": 4.5}]
    turns = [
        {"role": "system", "text": "be brief."},
        {"role": "user", "text": "<video> or <video>?"},
        {"role": "assistant", "text": "the first."},
    ]
    (sample,) = read(put(data / "l.jsonl", {"media": media, "turns": turns}), "vidapt_jsonl")
    assert [(c.start_s, c.end_s) for c in sample.media] == [(0.0, 2.0), (2.0, 4.5)]
    assert len({c.id for c in sample.media}) == 2
    assert sample.turns[0] == Turn("system", "be brief.")


def test_rows_without_an_id_are_named_by_file_and_number(data: Path) -> None:
    path = put(data / "l.jsonl", QA, QA)
    path.write_text(path.read_text().replace("\n", "\n\n\n"))
    samples = read(path, "vidapt_jsonl")
    assert [s.id for s in samples] == ["l:1", "l:2"]
    assert [s.source.rpartition(":")[2] for s in samples] == ["1", "4"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"vidoe": "a.mp4", "question": "q", "answer": "a"}, "did you mean 'video'?"),
        ({"question": "q", "answer": "a"}, "exactly one of 'video' and 'media'"),
        ({**QA, "media": []}, "exactly one of 'video' and 'media'"),
        ({"video": "a.mp4"}, "exactly one of 'question', 'caption' and 'turns'"),
        ({**QA, "caption": "c"}, "'question' and 'caption'"),
        ({"video": "a.mp4", "caption": "c", "answer": "a"}, "'answer' belongs to 'question'"),
        ({"video": "a.mp4", "question": "q"}, "'answer' is missing"),
        ({**QA, "answer": "  "}, "'answer' is empty"),
        ({**QA, "answer": "\u200b\ufeff \u2060\u200d"}, "'answer' holds only characters that cannot be seen"),
        ({**QA, "question": "\0\1\n"}, "'question' holds only characters that cannot be seen"),
        ({**QA, "answer": 3}, "'answer' is 3, not text"),
        ({**QA, "question": "<video> <video>"}, "2 media mark(s), the sample 1 clip(s)"),
        ({**QA, "answer": "I see <video> here."}, "turn 2, an answer, holds a <video> mark"),
        ({"video": "a.mp4", "caption": "an <image>"}, "turn 2, an answer, holds a <image> mark"),
        ({**QA, "rejected": "<video> no"}, "'rejected' holds a <video> mark"),
        ({**QA, "rejected": "<image> no"}, "'rejected' holds a <image> mark"),
        ({**QA, "video": "https://x.org/a.mp4"}, "is not a path"),
        ({**QA, "facts": {"accept": []}}, "'accept' names no answer"),
        ({**QA, "facts": {"accept": "red"}}, "'accept' is 'red', not a list"),
        ({**QA, "facts": [1]}, "'facts' is [1], not an object"),
        ({**QA, "id": True}, "'id' is True, not text"),
        ({"video": "a.mp4", "turns": []}, "does not end with an answer"),
        ({"video": "a.mp4", "turns": [{"role": "usr", "text": "q"}]}, "did you mean 'user'?"),
        ({"video": "a.mp4", "turns": [{"role": "assistant", "text": "a"}]}, "turn 1 is by the assistant"),
        ({"video": "a.mp4", "turns": [{"role": "user", "text": "q"}]}, "does not end with an answer"),
        ({"video": "a.mp4", "turns": ["q", "a"]}, "a turn is 'q', not an object"),
        ({"media": [{"path": "a.mp4", "start_s": 3, "end_s": 2}], "caption": "c"}, "not after its start"),
        ({"media": [{"path": "a.mp4", "start_s": -1}], "caption": "c"}, "not a moment"),
        (
            {"media": [{"path": "a.mp4", "start_s": 10**400}], "caption": "c"},
            "000..., not a moment in a clip",
        ),
        ({"media": [{"path": "a.mp4", "end_s": "2"}], "caption": "c"}, "not a number of seconds"),
        ({"media": [{"path": "a.mp4", "stop_s": 2}], "caption": "c"}, "unknown key 'stop_s'"),
        (["q"], "the row is ['q'], not an object"),
    ],
)
def test_unsound_row_is_refused_with_its_line(data: Path, row: Any, expected: str) -> None:
    message = refused(put(data / "l.jsonl", QA, row, QA), "vidapt_jsonl")
    assert expected in message
    assert message.startswith(f"{data / 'l.jsonl'}:2: ")


def test_repeated_id_names_both_rows(data: Path) -> None:
    message = refused(put(data / "l.jsonl", {**QA, "id": 7}, {**QA, "id": "7"}), "vidapt_jsonl")
    assert "l.jsonl:2: the id '7'" in message
    assert "l.jsonl:1" in message


# --- broken files ---------------------------------------------------------------------------------------


def test_broken_third_line_of_five_is_named_after_two_good_rows(data: Path) -> None:
    path = put(data / "l.jsonl", QA, QA, QA, QA, QA)
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace('"red"', '"red')
    path.write_text("\n".join(lines))
    samples = open_samples(path, "vidapt_jsonl")
    assert [next(samples).source[-2:], next(samples).source[-2:]] == [":1", ":2"]
    with pytest.raises(FormatError, match=r"l\.jsonl:3: broken JSON at column \d+: Unterminated string"):
        next(samples)


def test_broken_element_of_a_list_is_named_by_line_and_column(data: Path) -> None:
    path = put(data / "l.json", *[llava("<video>q", "a", video="a.mp4")] * 5)
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace('"gpt",', '"gpt"')
    path.write_text("\n".join(lines))
    column = lines[3].index('"gpt"') + len('"gpt" ') + 1
    samples = open_samples(path, "llava_json")
    assert [next(samples).source, next(samples).source] == [f"{path}:2", f"{path}:3"]
    with pytest.raises(FormatError) as caught:
        list(samples)
    assert str(caught.value).startswith(f"{path}:4: broken JSON at column {column}: ")


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("", 1, "no rows"),
        (" \n\n", 1, "no rows"),
        ("[\n\n]", 3, "the list is empty"),
        ("[\n{}\n{}\n]", 3, "column 1: found '{' instead of ',' or ']'"),
        ("[\n{},\n]", 3, "broken JSON at column 1"),
        ("[\n{}", 2, "found the end of the file"),
        ("[\n{}\n] x", 3, "column 3: found 'x' instead of the end of the file"),
        ('{"a": 1} {"a": 1}', 1, "more follows the row"),
        ('[\n{"a": 1, "a": 2}]', 2, "the key 'a' is given twice"),
        ('{"a": NaN}', 1, "NaN is not JSON"),
        ('{"a": ' + "[" * 100_000, 1, "nested too deeply"),
        ('[{"a":\n ' + "[" * 100_000, 1, "nested too deeply"),
    ],
)
def test_text_that_is_no_label_file_is_refused(data: Path, text: str, line: int, expected: str) -> None:
    (data / "l.json").write_text(text)
    with pytest.raises(FormatError) as caught:
        list(json_rows(data / "l.json", 1 << 20))
    assert caught.value.where == f"{data / 'l.json'}:{line}"
    assert expected in caught.value.found


@pytest.mark.parametrize("head", ["", "["])
def test_bytes_that_are_no_utf8_are_named_by_line(data: Path, head: str) -> None:
    (data / "l.json").write_bytes(head.encode() + b'{"q": "x",\n' * bool(head) + b'"\xff')
    message = refused(data / "l.json", "video_instruct")
    assert f"l.json:{2 if head else 1}: byte 0xff is not UTF-8" in message


def test_half_a_surrogate_pair_is_refused(data: Path) -> None:
    (data / "l.jsonl").write_text('{"video": "a.mp4", "caption": "\\ud83d"}')
    assert "surrogate" in refused(data / "l.jsonl", "vidapt_jsonl")


def test_list_larger_than_the_limit_is_refused_but_lines_are_not(data: Path) -> None:
    rows = [llava("<video>q", "a", video="a.mp4")] * 3
    assert "more than the 100 read at once" in refused(
        put(data / "l.json", *rows), "llava_json", max_bytes=100
    )
    assert len(read(put(data / "l.jsonl", *rows), "llava_json", max_bytes=100)) == 3


def test_single_line_larger_than_the_limit_is_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidapt.formats._scan.MAX_ROW_BYTES", 100)
    path = put(data / "l.jsonl", QA, {**QA, "answer": "x" * 100})
    assert "l.jsonl:2: a row of more than 100 bytes" in refused(path, "vidapt_jsonl")


def test_byte_order_mark_and_windows_line_ends_are_read(data: Path) -> None:
    for name in ("l.jsonl", "l.json"):
        path = put(data / name, {**QA, "answer": "é"}, QA)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
        samples = read(path, "vidapt_jsonl")
        assert [s.answer for s in samples] == ["é", "red"]
        assert samples[1].source.endswith(":2" if name == "l.jsonl" else ":3")


def test_missing_label_file_is_named(data: Path) -> None:
    assert "none.jsonl: there is no such file" in refused(data / "none.jsonl", "vidapt_jsonl")
    assert "none.jsonl: there is no such file" in refused(data / "none.jsonl")


# --- missing media --------------------------------------------------------------------------------------


def test_all_missing_media_are_named_in_one_error(data: Path) -> None:
    path = put(
        data / "l.jsonl", QA, {**QA, "video": "x.mp4"}, {**QA, "video": "x.mp4"}, {**QA, "video": "y.mp4"}
    )
    message = refused(path, "vidapt_jsonl")
    assert "2 of 3 media files are missing" in message
    assert f"{path}:2  {data / 'x.mp4'}" in message
    assert f"{path}:4  {data / 'y.mp4'}" in message
    assert f"{path}:3" not in message


def test_long_lists_of_missing_media_are_cut_but_counted(data: Path) -> None:
    message = refused(
        put(data / "l.jsonl", *({**QA, "video": f"{i}.mp4"} for i in range(25))), "vidapt_jsonl"
    )
    assert "25 of 25 media files are missing" in message
    assert message.count(".mp4") == 20
    assert "... and 5 more" in message


def test_unchecked_media_pass_until_they_are_checked(data: Path) -> None:
    samples = read(put(data / "l.jsonl", {**QA, "video": "x.mp4"}), "vidapt_jsonl", check_files=False)
    with pytest.raises(FormatError, match=r"l\.jsonl:1: 1 of 1 media files are missing"):
        check(samples)
    (data / "x.mp4").touch()
    assert check(samples) == 1


@pytest.mark.parametrize(
    "name", ["z" * 5000, "z/" * 3000, "z" * 5000 + "/z"], ids=["long", "deep", "in a long one"]
)
@pytest.mark.parametrize(
    ("kind", "row"),
    [
        ("vidapt_jsonl", {**QA, "video": "NAME"}),
        ("llava_json", llava("q", "a", video="NAME")),
        ("sharegpt", chat("q", "a", videos=["NAME"])),
        ("video_instruct", {"q": "q", "a": "a", "video_id": "NAME"}),
    ],
)
def test_a_name_no_file_can_have_is_a_missing_file(data: Path, kind: str, row: Any, name: str) -> None:
    path = put(data / "l.json", row)
    path.write_text(path.read_text().replace("NAME", name))
    assert f"{path}:2: 1 of 1 media files are missing" in refused(path, kind)
    assert f"{path}:2: 1 of 1 media files are missing" in refused(path, kind, media_root=data)


def test_a_label_file_of_a_name_no_file_can_have_is_missing(data: Path) -> None:
    for name in ("z" * 5000, "z/" * 3000 + "l.json"):
        assert "there is no such file" in refused(data / name)
        assert "there is no such folder" in refused(data / name, "folder")


def test_a_folder_of_videos_that_may_not_be_listed_has_none(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    path = put(data / "l.json", {"q": "q", "a": "a", "video_id": "a"})
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "1 of 1 media files are missing" in refused(path, "video_instruct")


# --- llava_json -----------------------------------------------------------------------------------------


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


def test_media_root_is_tried_after_the_label_folder(data: Path) -> None:
    root = data / "root"
    root.mkdir()
    (root / "a.mp4").touch()
    (root / "z.mp4").touch()
    path = put(data / "l.json", llava("q", "a", video="a.mp4"), llava("q", "a", video="z.mp4"))
    assert [s.media[0].path for s in read(path, "llava_json", media_root=root)] == [
        data / "a.mp4",
        root / "z.mp4",
    ]


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


# --- sharegpt -------------------------------------------------------------------------------------------


def test_sharegpt_paths_of_another_machine_are_found_beside_the_file(data: Path) -> None:
    rows = [chat("<video>Why?", "So.", videos=[f"demo_data/{name}"]) for name in ("a.mp4", "b.mp4")]
    path = data / "demo.json"
    path.write_text(json.dumps(rows, indent=2))
    samples = read(path, "sharegpt")
    assert [s.media[0].path for s in samples] == [data / "a.mp4", data / "b.mp4"]
    assert [s.source for s in samples] == [f"{path}:2", f"{path}:17"]
    assert path.read_text().splitlines()[16].strip() == "{"


def test_two_paths_are_never_taken_for_one_file_beside(data: Path) -> None:
    path = put(data / "l.json", *(chat("q", "a", videos=[f"{folder}/a.mp4"]) for folder in "xy"))
    assert "'y/a.mp4' and 'x/a.mp4' would both be" in refused(path, "sharegpt")


def test_only_sharegpt_drops_folders(data: Path) -> None:
    path = put(data / "l.json", llava("q", "a", video="x/a.mp4"))
    assert "1 of 1 media files are missing" in refused(path, "llava_json")


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


# --- ms-swift ---------------------------------------------------------------------------------------------


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


# --- video_instruct -------------------------------------------------------------------------------------


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


# --- detection ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (QA, "vidapt_jsonl"),
        ({"media": [], "turns": []}, "vidapt_jsonl"),
        (llava("q", "a", video="a.mp4"), "llava_json"),
        (llava("q", "a", image="c.png", id="1"), "llava_json"),
        (chat("q", "a", videos=[]), "sharegpt"),
        (chat("q", "a"), "sharegpt"),
        (llava("q", "a", videos=["a.mp4"]), "sharegpt"),
        ({"q": "q", "a": "a", "video_id": "v"}, "video_instruct"),
    ],
)
@pytest.mark.parametrize("name", ["l.json", "l.jsonl"])
def test_kind_follows_from_the_keys_of_the_first_row(data: Path, name: str, row: Any, kind: str) -> None:
    assert detect(put(data / name, row, {"other": 1})) == kind


def test_keys_of_two_formats_list_the_candidates(data: Path) -> None:
    message = refused(put(data / "l.json", llava("q", "a")))
    assert "llava_json or sharegpt" in message


def test_unknown_keys_and_suffixes_list_the_kinds(data: Path) -> None:
    message = refused(put(data / "l.json", {"prompt": "q", "video_url": "a"}))
    assert "no format has rows of prompt, video_url" in message
    assert "video_instruct" in message
    (data / "l.csv").touch()
    assert "'.csv'" in refused(data / "l.csv")


def test_unknown_kind_and_option_are_config_errors(data: Path) -> None:
    path = put(data / "l.jsonl", QA)
    with pytest.raises(ConfigError, match="did you mean 'llava_json'"):
        open_samples(path, "lava_json")
    with pytest.raises(ConfigError, match=r"formats\.vidapt_jsonl: chek_files"):
        open_samples(path, chek_files=False)


# --- every format ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", parts.kinds("formats"))
def test_tiny_data_is_recognised_and_read_lazily(tmp_path: Path, kind: str) -> None:
    module = importlib.import_module(f"vidapt.formats.{kind}")
    path = module.tiny_data(tmp_path)
    samples = module.tiny().read(path)
    assert isinstance(samples, Iterator)
    (sample,) = samples
    assert sample.media[0].path.is_file()
    assert sample.answer
    assert sample.source
    assert detect(path) == kind
