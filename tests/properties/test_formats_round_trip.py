"""What is written in vidapt's own format is what is read."""

from __future__ import annotations

import json
import tempfile
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vidapt.formats._scan import json_rows
from vidapt.formats.vidapt_jsonl import Part, write
from vidapt.nouns import MEDIA, Clip, Sample, Turn

ROOT = Path("/data/set")


def seen(text: str) -> bool:
    return any(unicodedata.category(letter) not in ("Cc", "Cf", "Zl", "Zp", "Zs") for letter in text)


texts = st.text(min_size=1, max_size=20).filter(lambda t: seen(t) and MEDIA not in t and "<image>" not in t)
names = st.text("abcé _-.", min_size=1, max_size=6).filter(lambda n: n.strip() and n.strip(".") == n)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def clips(draw: st.DrawFn) -> Clip:
    inside = draw(st.booleans())
    path = (ROOT if inside else Path("/elsewhere")) / draw(names)
    start_s = draw(st.sampled_from([0.0, 1.0, 0.1, 1e-9]) | st.floats(0, 1e6))
    end_s = draw(st.none() | st.floats(start_s, 2e6, exclude_min=True))
    usual = f"{path.relative_to(ROOT)}" if inside else f"{path}"
    return Clip(draw(st.just(usual) | texts), path, start_s, end_s)


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    media = tuple(draw(st.lists(clips(), max_size=3)))
    count = draw(st.integers(1, 3))
    spoken = [draw(texts) for _ in range(2 * count)]
    if draw(st.booleans()):
        for _ in media:
            turn = 2 * draw(st.integers(0, count - 1))
            place = draw(st.integers(0, len(spoken[turn])))
            spoken[turn] = MEDIA.join([spoken[turn][:place], spoken[turn][place:]])
    turns = [Turn("assistant" if i % 2 else "user", text) for i, text in enumerate(spoken)]
    if draw(st.booleans()):
        turns.insert(0, Turn("system", draw(texts)))
    facts: dict[str, Any] = draw(st.dictionaries(texts, values, max_size=2))
    if draw(st.booleans()):
        facts |= {"type": draw(texts), "accept": draw(st.lists(texts, min_size=1, max_size=2))}
    return Sample(draw(texts), media, tuple(turns), draw(st.none() | texts), facts)


@settings(max_examples=80, deadline=None)
@given(st.lists(samples(), max_size=3, unique_by=lambda sample: sample.id))
def test_written_samples_are_read_back_equal(written: list[Sample]) -> None:
    # A mark drawn into the middle of another one makes text that merely looks like it; such are left out.
    assume(all(sum(t.text.count(MEDIA) for t in s.turns) in (0, len(s.media)) for s in written))
    with tempfile.TemporaryDirectory() as folder:
        moved = [_moved(sample, Path(folder)) for sample in written]
        path = Path(folder) / "labels.jsonl"
        assert write(path, moved) == len(moved)
        if moved:
            again = list(Part(Part.Config(check_files=False)).read(path))
            assert [sample.source for sample in again] == [f"{path}:{i + 1}" for i in range(len(moved))]
            assert [replace(sample, source="") for sample in again] == moved


def _moved(sample: Sample, folder: Path) -> Sample:
    """The same sample with the clips of ROOT in `folder`."""
    media = tuple(
        replace(clip, path=folder / clip.path.relative_to(ROOT)) if clip.path.is_relative_to(ROOT) else clip
        for clip in sample.media
    )
    return replace(sample, media=media)


@settings(max_examples=80, deadline=None)
@given(st.lists(values, min_size=1, max_size=5), st.sampled_from([None, 0, 2]))
def test_elements_of_a_list_are_read_with_the_line_they_begin_on(rows: list[Any], indent: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.json"
        path.write_text(json.dumps(rows, indent=indent), encoding="utf-8")
        found = list(json_rows(path, 1 << 20))
        assert [value for _, value in found] == rows
        lines, line = [], 1
        for row in rows:
            line += indent is not None
            lines.append(line)
            line += json.dumps(row, indent=indent).count("\n")
        assert [line for line, _ in found] == lines
