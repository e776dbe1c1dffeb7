"""Labels read row by row give the clips, samples and ids that labels read whole give, for any rows."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from training_tools import tokenizer

from vidapt.errors import ConfigError
from vidapt.formats import open_tables
from vidapt.models.text import Encoded
from vidapt.recipe import DataSource, Prompt
from vidapt.training.data import ClipSamples, group_by_clip, read_sources
from vidapt.training.streamed import Streamed
from vidapt.training.streamed_clips import StreamedClips

WORDS = tokenizer()
PROMPTS = (Prompt(), Prompt(start="look. ", system="{text} ", compat="published", media="{media}\n"))
NAMES = ("a.mp4", "b.png", "sub/c.mp4")
SAID = st.sampled_from(["what?", "is it <red>?", "wer – was?", " and\nnow?"])
STRETCH = st.sampled_from([{}, {"start_s": 1}, {"start_s": 1.0, "end_s": 2}, {"end_s": 2.5}])
PATHS = st.sampled_from([*NAMES, "./a.mp4", "sub//c.mp4"])


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """A row of vidapt's own, of any of its forms."""
    media = [{"path": draw(PATHS), **draw(STRETCH)} for _ in range(draw(st.integers(0, 2)))]
    row: dict[str, Any] = {"media": media}
    if len(media) == 1 and draw(st.booleans()):
        row = {"video": media[0].pop("path"), **media[0]}
    if draw(st.booleans()):
        row["facts"] = {"type": draw(st.sampled_from(["x", "y"]))}
    if draw(st.booleans()):
        row |= {"question": draw(SAID), draw(st.sampled_from(["answer", "answers"])): "red"}
        if "answers" in row:
            row["answers"] = draw(st.lists(SAID, min_size=1, max_size=3))
        return row
    asked = [draw(SAID) for _ in range(draw(st.integers(1, 3)))]
    marks = draw(st.sampled_from(["none", "front", "inside", "late"]))
    if marks != "none" and media:
        at = len(asked) - 1 if marks == "late" else 0
        mark = "<video>" * len(media)
        asked[at] = f"{asked[at]} {mark}" if marks == "inside" else mark + asked[at]
    turns = [{"role": "system", "text": "be short."}] if draw(st.booleans()) else []
    for text in asked:
        turns += [{"role": "user", "text": text}, {"role": "assistant", "text": draw(SAID)}]
    return {**row, "turns": turns}


def shown(clips: list[ClipSamples]) -> list[Any]:
    return [
        (
            one.source,
            [(clip.path, clip.start_s, clip.end_s) for clip in one.media],
            one.samples,
            ids(one.encoded),
        )
        for one in clips
    ]


def ids(encoded: Any) -> list[Encoded]:
    return list(encoded)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(rows(), min_size=1, max_size=12), min_size=1, max_size=3),
    st.booleans(),
    st.booleans(),
    st.sampled_from(PROMPTS),
    st.sampled_from(
        [{}, {"skip": 1}, {"limit": 2}, {"types": ("x",)}, {"skip": 1, "limit": 1, "types": ("x", "y")}]
    ),
)
def test_both_ways_of_reading_give_the_same(
    files: list[list[dict[str, Any]]], apart: bool, mixed: bool, prompt: Prompt, filters: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sub").mkdir()
        for clip in NAMES:
            (folder / clip).write_bytes(b"x")
        sources = []
        for number, some in enumerate(files):
            path = folder / f"{number}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
            sources.append(DataSource(path=path, format="vidapt_jsonl", **filters))
        tables = [open_tables(one.path, one.format) for one in sources]
        try:
            read = read_sources(sources)
        except ConfigError:
            with pytest.raises(ConfigError, match="holds no sample"):
                Streamed(sources, tables, None)
            return
        samples = [sample for found in read for sample in found]
        origins = [index for index, found in enumerate(read) for _ in found] if mixed else None
        whole = group_by_clip(samples, prompt, WORDS, 99, apart=apart, origins=origins)
        streamed = Streamed(sources, tables, None)
        groups = streamed.groups(apart=apart, clips_first=prompt.compat == "published", separate=mixed)
        clips = StreamedClips(
            streamed, groups, prompt, WORDS, 99, apart=apart, placement="as_written", too_long=lambda clip: []
        )
        found = [one if mixed else ClipSamples(one.media, one.samples, one.encoded, 0) for one in clips]
        assert shown(found) == shown(whole)
        assert streamed.count == len(samples)
