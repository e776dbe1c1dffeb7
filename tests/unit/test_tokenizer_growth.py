"""What a tokenizer may make of a text, up to the letter; what makes more is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from vidapt.errors import CheckpointError
from vidapt.models.tokenizer_file import refuse_growth

STEPS = {"BertNormalizer": 8, "ByteLevel": 4, "Lowercase": 3, "NFC": 3, "NFD": 4, "NFKC": 18, "NFKD": 18}


def written(folder: Path, **parts: Any) -> Path:
    (folder / "tokenizer.json").write_text(json.dumps(parts), encoding="utf-8")
    return folder


def replace(times: int, of: Any = "a") -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": of}, "content": "b" * times}


def prepend(letters: int) -> dict[str, Any]:
    return {"type": "Prepend", "prepend": "x" * letters}


def after(*steps: Any) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(steps), "decoders": list(steps)}


def charsmap(longest: int) -> dict[str, Any]:
    """A table of letters, of which none counts, and replacements behind it."""
    raw = (3000).to_bytes(4, "little") + b"x" * 3000 + b"ab\0" + b"y" * longest + b"\0c"
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(raw).decode()}


FITS = [
    replace(1024),
    replace(2048, "ab"),
    replace(0),
    {"type": "Replace", "pattern": {"Regex": "a"}, "content": "b" * 1023},
    {"type": "Replace", "pattern": "a", "content": "b" * 1023},
    replace(1023, ""),
    prepend(256),
    after(replace(32), replace(32)),
    after(replace(0), replace(1024)),
    after(prepend(100), replace(2), prepend(56)),
    after(after(replace(2)), None, "odd", {"type": "Strip"}, replace(512)),
    after(None, prepend(256)),
    charsmap(1024),
    {"type": "Precompiled", "precompiled_charsmap": "no base64!"},
    {"type": "Precompiled", "precompiled_charsmap": ""},
    {"type": "Precompiled"},
    after({"type": "Precompiled", "precompiled_charsmap": 3}, replace(1024), prepend(256)),
    {"type": "Sequence", "normalizers": 7},
    {"type": "Other", "normalizers": [replace(2000)], "decoders": [replace(2000)]},
    [],
    *(after({"type": kind}, replace(1024 // growth)) for kind, growth in STEPS.items()),
]
BEYOND = [
    (replace(1025), "makes 1,025 letters of one, and adds 0"),
    (replace(2049, "ab"), "makes 1,025 letters of one, and adds 0"),
    ({"type": "Replace", "pattern": {"Regex": "a"}, "content": "b" * 1024}, "makes 1,025 letters"),
    (replace(1024, ""), "makes 1,025 letters"),
    (prepend(257), "makes 1 letters of one, and adds 257"),
    (after(replace(32), replace(33)), "makes 1,056 letters of one, and adds 0"),
    (after(prepend(100), replace(2), prepend(57)), "makes 2 letters of one, and adds 257"),
    (after(*[replace(2)] * 90), "makes 2,048 letters"),
    (after(*[prepend(200)] * 9), "adds 400"),
    (charsmap(1025), "makes 1,025 letters"),
    *(
        (after({"type": kind}, replace(1024 // growth + 1)), f"{growth * (1024 // growth + 1):,} letters")
        for kind, growth in STEPS.items()
    ),
]


@pytest.mark.parametrize("what", ["normalizer", "decoder"])
@pytest.mark.parametrize("step", FITS, ids=range(len(FITS)))
def test_what_stays_within_the_bound_is_read(tmp_path: Path, what: str, step: Any) -> None:
    refuse_growth(written(tmp_path, **{what: step}))


@pytest.mark.parametrize("what", ["normalizer", "decoder"])
@pytest.mark.parametrize(("step", "found"), BEYOND, ids=range(len(BEYOND)))
def test_what_goes_beyond_is_refused(tmp_path: Path, what: str, step: Any, found: str) -> None:
    with pytest.raises(CheckpointError, match=f"its {what} .*{found}"):
        refuse_growth(written(tmp_path, **{what: step}))


def template(*marks: str, texts: int = 1, known: Any = None) -> dict[str, Any]:
    single = [{"SpecialToken": {"id": mark}} for mark in marks] + [{"Sequence": {"id": "A"}}] * texts
    return {"type": "TemplateProcessing", "single": single, "special_tokens": known}


def several(*steps: Any) -> dict[str, Any]:
    return {"type": "Sequence", "processors": list(steps)}


IDS = {"long": {"ids": [0] * 200}, "longer": {"ids": [0] * 57}, "odd": {"ids": 3}, "none": 4}


@pytest.mark.parametrize(
    "step",
    [
        template(),
        template(*["s"] * 256),
        template("long", *["s"] * 56, known=IDS),
        template("long", *["odd", "none"] * 28, known=IDS),
        several(template(*["s"] * 100), template(*["s"] * 156)),
        several(template(*["s"] * 300), template(texts=0)),  # nothing is left of the first
        several(template(), None, "odd", template(*["s"] * 256)),
        {"type": "TemplateProcessing", "single": 3},
        {"type": "Other", "single": [{"Sequence": {}}] * 3},
        {"type": "Sequence", "processors": 3},
        {"type": "Other", "processors": [template(texts=3)]},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": 3}, 4, {"Sequence": {}}]},
        "odd",
    ],
    ids=str,
)
def test_a_text_is_written_once_with_few_marks_around(tmp_path: Path, step: Any) -> None:
    refuse_growth(written(tmp_path, post_processor=step))


@pytest.mark.parametrize(
    ("step", "found"),
    [
        (template(texts=2), "a text 2 times, and 0 tokens"),
        (template(*["s"] * 257), "a text 1 times, and 257 tokens"),
        (template("long", "longer", known=IDS), "a text 1 times, and 257 tokens"),
        (several(template(*["s"] * 100), template(*["s"] * 157)), "a text 1 times, and 257 tokens"),
        (several(template("s", "s", texts=2), template("s", texts=3)), "a text 6 times, and 7 tokens"),
        (several(*[template("s", texts=2)] * 50), "a text 1,073,741,824 times, and 1,073,741,824 tokens"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_text_that_is_written_again_is_refused(tmp_path: Path, step: Any, found: str) -> None:
    with pytest.raises(CheckpointError, match=f"writes {found} around"):
        refuse_growth(written(tmp_path, post_processor=step))


def test_marks_that_are_added_by_themselves_are_counted(tmp_path: Path) -> None:
    config = tmp_path / "tokenizer_config.json"
    for fine in (10_000, "10001", None, 100.0):
        config.write_text(json.dumps({"extra_ids": fine}), encoding="utf-8")
        refuse_growth(tmp_path)
    config.write_text(json.dumps({"extra_ids": 10_001}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="extra_ids is 10,001"):
        refuse_growth(tmp_path)


def test_what_is_no_description_is_left_to_who_reads_it(tmp_path: Path) -> None:
    refuse_growth(tmp_path)
    file = tmp_path / "tokenizer.json"
    for said in ("[1]", "{", "3", "[" * 100_000):
        file.write_text(said, encoding="utf-8")
        refuse_growth(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate((256 << 20) + 1)
    with pytest.raises(CheckpointError, match="has 268435457 bytes"):
        refuse_growth(tmp_path)
