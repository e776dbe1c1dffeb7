"""Long footage is labelled stretch by stretch, each with a row, its own frames and its own price."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from label_tools import beside, film, lines, provenance, recipe, teacher
from served_tools import serving

from vidapt.captioning.chunks import Cutting
from vidapt.chat.open import open_speakers
from vidapt.errors import ConfigError
from vidapt.formats import open_samples
from vidapt.teaching.foresee import foresee
from vidapt.teaching.job import Source, Summary, label_folder
from vidapt.teaching.settings import Labelling


def run(settings: Labelling, clips: Path, out: Path, chunk: str | None = "2", **more: Any) -> Summary:
    return label_folder(settings, Source(clips, workers=0, cutting=Cutting.of(chunk)), out, **more)


def test_each_stretch_of_a_film_has_labels_of_its_own(tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "labels.jsonl"
    film(clips / "long.mp4", 0, frames=20, fps=4)
    film(clips / "short.mp4", 1, frames=8, fps=4)
    (clips / "bad.mp4").write_bytes(b"no video")
    with serving(teacher) as fake:
        settled = recipe(fake)
        whole = Source(clips, workers=0, cutting=Cutting.of("2"))
        told = foresee(settled, open_speakers(settled.teachers), whole, out)
        assert (told.clips, told.broken, told.likely.calls) == (4, 1, 4)
        assert {one.name for one in tmp_path.iterdir()} == {"clips"}
        summary = run(settled, clips, out)
        assert (summary.labelled, summary.broken, summary.calls) == (4, 1, 4)
        names = ["long.mp4@0-2", "long.mp4@2-4", "long.mp4@4-5", "short.mp4"]
        rows = provenance(out)
        assert [row["clip"] for row in rows] == names
        assert [(row["start_s"], row["end_s"]) for row in rows] == [(0, 2), (2, 4), (4, 5), (0, None)]
        assert [row["length_s"] for row in rows] == [2.0, 2.0, 1.0, 2.0]
        shown = [json.dumps(body) for body in fake.heard]
        assert len(set(shown)) == 4, "each is shown its own frames"
        samples = list(open_samples(out))
        assert [one.id for one in samples] == names
        assert [(one.media[0].start_s, one.media[0].end_s) for one in samples][1] == (2.0, 4.0)
        assert [row["clip"] for row in lines(beside(out, "quarantine"))] == ["bad.mp4"]

        summary = run(settled, clips, out)
        assert (summary.kept, summary.labelled, summary.vanished, len(fake.heard)) == (4, 0, 0, 4)
        with pytest.raises(ConfigError, match="labels of another recipe"):
            run(settled, clips, out, chunk="1")
        with pytest.raises(ConfigError, match="labels of another recipe"):
            run(settled, clips, out, chunk=None)
        rejected = tmp_path / "rejected.jsonl"
        bad = {"again": True, "row": {"id": names[1], "answer": lines(out)[1]["answer"]}}
        rejected.write_text(json.dumps(bad) + "\n")
        assert run(settled, clips, out, again=rejected).asked_again == 1
        assert [row["again"] for row in provenance(out)] == [0, 1, 0, 0]


def test_a_job_that_is_ended_by_its_budget_goes_on_with_the_same_stretches(tmp_path: Path) -> None:
    clips, out = tmp_path / "clips", tmp_path / "labels.jsonl"
    film(clips / "long.mp4", 0, frames=24, fps=4)
    with serving(teacher) as fake:
        own = {"endpoint": {"concurrency": 1, "tokens_per_frame": 4}, "decoding": {"max_tokens": 20}}
        settled = recipe(fake, **own)
        source = Source(clips, workers=0, cutting=Cutting.of("2"))
        most = foresee(settled, open_speakers(settled.teachers), source, out).most
        little = (most.read + most.written) // 3 + 130
        summary = run(recipe(fake, **own, budget={"tokens": little}), clips, out)
        assert (summary.labelled, summary.left) == (2, 1)
        summary = run(settled, clips, out)
        assert (summary.labelled, summary.kept) == (1, 2)
        assert len(fake.heard) == 3
