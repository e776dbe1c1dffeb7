"""What is gained and what is kept along the way from one language model to another, measured by questions.

Source: the curves of WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903).
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from vidapt.errors import ConfigError
from vidapt.files import write_json
from vidapt.formats import check
from vidapt.loading import usable_device
from vidapt.metrics.intervals import mean_interval
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter
from vidapt.recipe import Cache, DataSource
from vidapt.training import quarantine
from vidapt.training.align.ends import Ends
from vidapt.training.align.interpolate import along, interpolated, save_between
from vidapt.training.align.names import SWEEP
from vidapt.training.align.sweep import check_sweep, sources_of
from vidapt.training.data import ClipSamples, read_samples
from vidapt.training.footage import Footage
from vidapt.training.measuring import Marks, Questions, asked_of
from vidapt.training.picture_sizes import grouped_sizes

RULE = (
    "the highest sum over the sets of the share of right answers; of equal ones the lowest sum of losses, "
    "then the smallest share"
)
HEAD = ("share", "set", "accuracy", "95 % interval", "loss a token")

Sets = Mapping[str, Sequence[ClipSamples]]


@dataclass(frozen=True)
class TalkSwept:
    """Answers along the way.

    Attributes:
        ends: The two models.
        sizes: Clips and questions of each set.
        found: By share, and by set.
        broken: Clips that were left out, with their reasons.
    """

    ends: Ends
    sizes: Mapping[str, tuple[int, int]]
    found: Mapping[float, Mapping[str, Marks]]
    broken: Mapping[Clip, str] = field(default_factory=dict)
    head: ClassVar = HEAD
    rule: ClassVar = RULE

    @property
    def best(self) -> float:
        """The share that is best by `RULE`."""
        return max(sorted(self.found), key=self._score)

    def _score(self, share: float) -> tuple[float, float]:
        right, losses = zip(*(marks.score for marks in self.found[share].values()), strict=True)
        return sum(right), sum(losses)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "start": self.ends.start,
            "tuned": self.ends.tuned,
            "sets": {name: {"clips": n, "questions": m} for name, (n, m) in self.sizes.items()},
            "shares": [
                {"share": share, **{name: _told(marks) for name, marks in by_set.items()}}
                for share, by_set in self.found.items()
            ],
            "best": {"share": self.best, "rule": RULE},
            "broken": quarantine.rows(self.broken),
        }

    def rows(self) -> list[list[str]]:
        """For each share and set: share, set, accuracy, its interval and the loss."""
        return sweep_rows(self.to_dict())


def _told(marks: Marks) -> dict[str, Any]:
    right = [(float(one.right), one.clip) for one in marks.questions if one.right is not None]
    if not right:
        return marks.to_dict()
    values, clips = zip(*right, strict=True)
    interval = mean_interval(values, clips)
    return {**marks.to_dict(), "low": interval.low, "high": interval.high}


def sweep_rows(swept: Mapping[str, Any]) -> list[list[str]]:
    """Rows of a table of what `TalkSwept.to_dict` gives."""
    return [
        [f"{one['share']:g}", name.replace("_", " "), *_accuracy(one[name]), f"{one[name]['loss']:.3f}"]
        for one in swept["shares"]
        for name in swept["sets"]
    ]


def _accuracy(found: Mapping[str, float]) -> list[str]:
    if "accuracy" not in found:
        return ["-", "-"]
    return [f"{100 * found['accuracy']:.1f} %", f"{100 * found['low']:.1f} to {100 * found['high']:.1f}"]


def sweep(
    ends: Ends,
    shares: Sequence[float],
    given: Mapping[str, Sequence[DataSource]],
    *,
    out: Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    report: Reporter,
) -> TalkSwept:
    """Ask models between two; each clip is decoded once for all of them.

    Of a run's own sets the questions are those that its training asked; of given ones all are asked. What is
    found is kept in the run's folder as `interpolation.json`.

    Args:
        ends: The two models.
        shares: Of the tuned one.
        given: Sets by name: those beside the run's, or in their place.
        out: The best model is written here; None writes none.
        workers: Decoding processes; None is one per core.
        device: Where models run.
        report: Shows progress.

    Raises:
        CheckpointError: If a model cannot be opened, they differ, or `out` exists.
        ConfigError: If there are no sets, or no shares from 0 to 1, or no usable clip.
        FormatError: If a label file is unsound, or media are missing.
    """
    check_sweep(shares, out)
    samples = {name: read_samples(listed) for name, listed in sources_of(ends, given).items()}
    check([sample for listed in samples.values() for sample in listed])
    first, second, tokenizer = ends.open()
    assert isinstance(first, VideoLM)
    assert isinstance(second, VideoLM)
    sets = _asked(ends, samples, given, second, tokenizer)
    for model in (first, second):
        model.to(usable_device(device))
    found: dict[float, Mapping[str, Marks]] = {}
    with _footage(second, ends, sets, os.cpu_count() or 1 if workers is None else workers) as footage:
        sets, broken = _usable(footage, sets, report)
        for share, model in along(first, second, sorted(set(shares))):
            questions = Questions(model, tokenizer, footage)
            found[share] = {name: questions(clips) for name, clips in sets.items()}
            report("interpolate", len(found), len(set(shares)))
    numbers = {name: (len(clips), sum(len(clip.samples) for clip in clips)) for name, clips in sets.items()}
    swept = TalkSwept(ends, numbers, found, broken)
    if ends.run is not None:
        write_json(ends.run / SWEEP, swept.to_dict())
    if out is not None:
        told = {"rule": RULE, "measured": {k: v.to_dict() for k, v in found[swept.best].items()}}
        save_between(out, interpolated(first, second, swept.best), tokenizer, ends, swept.best, told)
    return swept


def _asked(
    ends: Ends,
    samples: Mapping[str, Sequence[Sample]],
    given: Mapping[str, Sequence[DataSource]],
    model: VideoLM,
    tokenizer: Any,
) -> Sets:
    """The questions of each set: of the run's own those that its training asked."""
    stage = ends.stage
    sizes = None if stage is None else stage.batching.sizes
    counts = {name: stage.measure_questions for name in stage.sets if name not in given} if stage else {}
    return {
        name: asked_of(listed, counts.get(name, sys.maxsize), model, tokenizer, sizes)
        for name, listed in samples.items()
    }


@contextmanager
def _footage(model: VideoLM, ends: Ends, sets: Sets, workers: int) -> Iterator[Footage]:
    """Frames, where the run's training keeps them; otherwise they are gone when all is measured."""
    sizes = None if ends.stage is None else ends.stage.batching.sizes
    with tempfile.TemporaryDirectory() as temporary:
        yield Footage(
            model,
            Cache(keep="frames"),
            Path(temporary) if ends.run is None else ends.run.parent / ".cache",
            tower_trains=True,
            needs_views=True,
            workers=workers,
            sizes=grouped_sizes(sizes, [clip for clips in sets.values() for clip in clips]),
        )


def _usable(footage: Footage, sets: Sets, report: Reporter) -> tuple[Sets, dict[Clip, str]]:
    """The sets without clips that are broken, and these."""
    items = dict.fromkeys((clip, len(c.media)) for clips in sets.values() for c in clips for clip in c.media)
    broken = footage.prepare(list(items), lambda done, total: report("read clips", done, total))
    usable = {name: [c for c in clips if broken.keys().isdisjoint(c.media)] for name, clips in sets.items()}
    for name, clips in usable.items():
        if not clips:
            reason = next(iter(broken.values()))
            raise ConfigError(name, f"none of its clips can be used: {reason}", "check the files")
    return usable, broken
