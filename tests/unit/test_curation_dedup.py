"""`vidapt data dedup`: what shows the same is set aside, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from curation_tools import film, row, write
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.curation import dedup
from vidapt.curation.dedup import _key, _twins
from vidapt.curation.likeness import Embedded, near_vectors
from vidapt.errors import ConfigError
from vidapt.formats import open_samples
from vidapt.inference.embed import Embedder
from vidapt.nouns import Clip
from vidapt.progress import Reporter


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Four films; a copy with more rows than its original, and one encoded anew; text alone."""
    for number in range(4):
        film(tmp_path / f"{number}.mp4", number)
    shutil.copy(tmp_path / "0.mp4", tmp_path / "copy.mp4")
    film(tmp_path / "again.mp4", 1, noise=4, shift=9)
    names = [*(f"{number}.mp4" for number in range(4)), "copy.mp4", "again.mp4"]
    rows = [row(name) for name in names] + [row("copy.mp4", "who?")]
    rows += [row("2.mp4", start_s=0.5), {"media": [], "question": "1?", "answer": "2"}]
    rows += [{"media": [{"path": "0.mp4"}, {"path": "3.mp4"}], "question": "both?", "answer": "yes"}]
    return write(tmp_path / "labels.jsonl", rows)


def clips_of(file: Path) -> list[str]:
    return sorted({clip.path.name for sample in open_samples(file) for clip in sample.media})


def test_copies_and_what_was_encoded_anew_are_set_aside_with_what_they_are_like(
    pool: Path, tmp_path: Path
) -> None:
    found = dedup([pool], tmp_path / "out" / "once.jsonl", workers=0)
    told = {(Path(twin.clip).name, Path(twin.like).name) for twin in found.twins}
    # The copy has as many rows as its original, which comes first; both rows of text and of two clips stay.
    assert told == {("copy.mp4", "0.mp4"), ("again.mp4", "1.mp4")}
    kept, aside = Path(found.file), Path(found.aside)
    assert clips_of(kept) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert clips_of(aside) == ["again.mp4", "copy.mp4"]
    assert found.rows == 7
    assert found.clips == 5  # two of them are stretches of one file
    rows = list(open_samples(aside))
    assert len(rows) == 3
    assert all(Path(sample.facts["like"]).name in ("0.mp4", "1.mp4") for sample in rows)
    assert {sample.facts["likeness"] for sample in rows if sample.media[0].path.name == "copy.mp4"} == {1.0}
    assert found.rows + len(rows) == sum(1 for _ in open_samples(pool))


def test_without_frames_only_equal_content_counts(pool: Path, tmp_path: Path) -> None:
    found = dedup([pool], tmp_path / "once.jsonl", frames=False, workers=0)
    assert [Path(twin.clip).name for twin in found.twins] == ["copy.mp4"]


def test_a_chain_does_not_shrink_to_one() -> None:
    clips = [Clip(name, Path(name)) for name in "abcd"]
    a, b, c, d = clips
    pairs = [(a, b, 0.95), (b, c, 0.95), (c, d, 0.91)]
    found = _twins(clips, pairs, {_key(clip): 1 for clip in clips})
    assert {key[0].name: like[0].path.name for key, like in found.items()} == {"b": "a", "d": "c"}
    most = _twins(clips, pairs, {_key(a): 1, _key(b): 5, _key(c): 1, _key(d): 1})
    assert {key[0].name: like[0].path.name for key, like in most.items()} == {"a": "b", "c": "b"}


def test_the_command_tells_what_it_set_aside(pool: Path, tmp_path: Path) -> None:
    words = ["data", "dedup", str(pool), "--out", str(tmp_path / "once.jsonl"), "--workers", "0"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "set aside: 2 clips" in done.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert (told["rows"], told["clips"], len(told["twins"])) == (7, 5, 2)


@pytest.mark.parametrize("above", [0.0, 1.5, float("nan")])
def test_no_likeness_is_refused(above: float, pool: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no likeness"):
        dedup([pool], tmp_path / "once.jsonl", above=above, workers=0)


def test_clips_that_a_model_takes_for_the_same_are_set_aside(pool: Path, tmp_path: Path) -> None:
    towards = {"0.mp4": [1, 0, 0], "3.mp4": [1, 0.01, 0], "1.mp4": [0, 1, 0], "2.mp4": [0, 0, 1]}

    def embed(clips: Sequence[Clip], report: Reporter) -> Embedded:
        seen = [clip for clip in clips if clip.path.name in towards]
        common = np.array([9, 9, 9])  # a camera that all clips share
        return Embedded(seen, np.array([towards[clip.path.name] + common for clip in seen], np.float32))

    found = dedup([pool], tmp_path / "once.jsonl", frames=False, embed=embed, workers=0)
    assert {Path(twin.clip).name for twin in found.twins} == {"copy.mp4", "3.mp4", "2.mp4"}, (
        "2 is named twice"
    )


@pytest.mark.parametrize("name", ["billiards-clip", "billiards-home"])
def test_a_model_makes_vectors_of_clips_that_can_be_seen(name: str, pool: Path) -> None:
    clips = [Clip(one, pool.parent / one) for one in ("0.mp4", "1.mp4", "2.mp4", "again.mp4", "gone.mp4")]
    (pool.parent / "broken.mp4").write_bytes(b"no film")
    found = Embedder(name, workers=0)([*clips, Clip("broken", pool.parent / "broken.mp4")])
    assert [clip.id for clip in found.clips] == ["0.mp4", "1.mp4", "2.mp4", "again.mp4"]
    assert np.isfinite(found.vectors).all()
    if name == "billiards-clip":  # whose vectors are made to be compared
        best = max(near_vectors(found, -1.0), key=lambda pair: pair[2])
        assert best[:2] == (1, 3), "what was encoded anew is most like what it was"
