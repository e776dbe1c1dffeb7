"""The formats that are one label file: what each reads, and what each refuses."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from format_tools import QA, chat, llava, put, read, refused

from vidapt import parts
from vidapt.errors import ConfigError, FormatError
from vidapt.formats import detect, each_sample, open_samples
from vidapt.formats._scan import json_rows
from vidapt.nouns import Sample, Turn


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4", "c.png"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


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


def test_broken_third_line_of_five_is_named_after_two_good_rows(data: Path) -> None:
    path = put(data / "l.jsonl", QA, QA, QA, QA, QA)
    lines = path.read_text().splitlines()
    lines[2] = lines[2].replace('"red"', '"red')
    path.write_text("\n".join(lines))
    samples = open_samples(path, "vidapt_jsonl")
    assert [next(samples).source[-2:], next(samples).source[-2:]] == [":1", ":2"]
    with pytest.raises(FormatError, match=r"l\.jsonl:3: broken JSON at column \d+: Unterminated string"):
        next(samples)


@pytest.mark.parametrize("first", ['{"question": NaN}', '{"question', "7", "\udcff"])
def test_an_unsound_first_row_hides_neither_the_format_nor_the_other_rows(data: Path, first: str) -> None:
    path = put(data / "l.jsonl", QA, QA)
    path.write_bytes(first.encode(errors="surrogateescape") + b"\n" + path.read_bytes())
    assert detect(path) == "vidapt_jsonl"
    unsound, *sound = each_sample(path)
    assert isinstance(unsound, FormatError)
    assert str(unsound.where).endswith("l.jsonl:1")
    assert [one.source[-2:] for one in sound if isinstance(one, Sample)] == [":2", ":3"]
    with pytest.raises(FormatError, match=r"l\.jsonl:1: "):
        list(open_samples(path))
    path.write_bytes(first.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(FormatError, match=r"l\.jsonl:1: "):
        detect(path)


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
