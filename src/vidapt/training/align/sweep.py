"""What is gained and what is lost along the way from one model to another, measured by retrieval.

Source: the curves of WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from vidapt.errors import ConfigError
from vidapt.files import write_json
from vidapt.formats import check
from vidapt.loading import usable_device
from vidapt.metrics.retrieval import BothWays, Retrieval, both_ways
from vidapt.models.dual_encoder import DualEncoder
from vidapt.nouns import Clip
from vidapt.progress import Reporter
from vidapt.recipe import Batching, Cache, DataSource, Pairing
from vidapt.training import quarantine
from vidapt.training.align.captions import ClipCaptions, caption_clips
from vidapt.training.align.ends import Ends
from vidapt.training.align.eyes import DualEyes
from vidapt.training.align.interpolate import along, check_new, check_share, interpolated, save_between
from vidapt.training.align.names import SWEEP
from vidapt.training.align.retrieve import cosines, score_of
from vidapt.training.data import read_samples
from vidapt.training.footage import Footage

RULE = (
    "the highest sum over the sets of recall@1 (mean of both ways); of equal ones the lowest sum of mean "
    "ranks, then the smallest share"
)

HEAD = ("share", "set", "way", "R@1", "R@5", "R@10", "median rank", "mean rank")

Sets = Mapping[str, Sequence[ClipCaptions]]


@dataclass(frozen=True)
class Swept:
    """Retrieval along the way.

    Attributes:
        ends: The two models.
        sizes: Clips and texts of each set.
        found: By share, and by set.
        broken: Clips that were left out, with their reasons.
    """

    ends: Ends
    sizes: Mapping[str, tuple[int, int]]
    found: Mapping[float, Mapping[str, BothWays]]
    broken: Mapping[Clip, str] = field(default_factory=dict)
    head: ClassVar = HEAD
    rule: ClassVar = RULE

    @property
    def best(self) -> float:
        """The share that is best by `RULE`."""
        return max(sorted(self.found), key=self._score)

    def _score(self, share: float) -> tuple[float, float]:
        recalls, ranks = zip(*map(score_of, self.found[share].values()), strict=True)
        return sum(recalls), sum(ranks)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "start": self.ends.start,
            "tuned": self.ends.tuned,
            "sets": {name: {"clips": n, "texts": m} for name, (n, m) in self.sizes.items()},
            "shares": [
                {"share": share, **{name: found.to_dict() for name, found in by_set.items()}}
                for share, by_set in self.found.items()
            ],
            "best": {"share": self.best, "rule": RULE},
            "broken": quarantine.rows(self.broken),
        }

    def rows(self) -> list[list[str]]:
        """Two for each share and set: share, set, way, R@1, R@5, R@10, median and mean rank."""
        return [
            [f"{share:g}", name.replace("_", " "), way, *_written(one)]
            for share, by_set in self.found.items()
            for name, found in by_set.items()
            for way, one in (("clip to text", found.to_text), ("text to clip", found.to_video))
        ]


def _written(one: Retrieval) -> list[str]:
    recalls = [f"{100 * value:.1f} %" for value in one.recall.values()]
    return [*recalls, f"{one.median_rank:g}", f"{one.mean_rank:.2f}"]


def sweep(
    ends: Ends,
    shares: Sequence[float],
    given: Mapping[str, Sequence[DataSource]],
    *,
    out: Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    report: Reporter,
) -> Swept:
    """Measure models between two; each clip is decoded once for all of them.

    A run's sets, pairing and group size are used where there is a run. What is found is kept in its folder
    as `interpolation.json`.

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
        ConfigError: If there are no sets, or no shares from 0 to 1, or no tokenizer, or no usable clip.
        FormatError: If a label file is unsound, or media are missing.
    """
    check_sweep(shares, out)
    samples = {name: read_samples(listed) for name, listed in sources_of(ends, given).items()}
    check([sample for listed in samples.values() for sample in listed])
    first, second, tokenizer = ends.open()
    assert isinstance(first, DualEncoder)
    assert isinstance(second, DualEncoder)
    if tokenizer is None:
        raise ConfigError(ends.tuned, "has no tokenizer", "give the run that tuned it")
    pairing = Pairing() if ends.stage is None else ends.stage.pairs
    positions = second.text.positions
    sets = {
        name: caption_clips(listed, pairing, tokenizer, positions, name).clips
        for name, listed in samples.items()
    }
    second.to(usable_device(device))
    with _footage(second, ends, os.cpu_count() or 1 if workers is None else workers) as footage:
        broken = _read(footage, sets, report)
        way = along(first, second, sorted(set(shares)))
        swept = _measured(way, len(set(shares)), ends, footage, _usable(sets, broken), report)
    swept = replace(swept, broken=broken)
    if ends.run is not None:
        write_json(ends.run / SWEEP, swept.to_dict())
    if out is not None:
        numbers = {"rule": RULE, "retrieval": {k: v.to_dict() for k, v in swept.found[swept.best].items()}}
        save_between(out, interpolated(first, second, swept.best), tokenizer, ends, swept.best, numbers)
    return swept


def sources_of(ends: Ends, given: Mapping[str, Sequence[DataSource]]) -> dict[str, Sequence[DataSource]]:
    """What is measured on: the run's sets, and those that are given beside them or in their place.

    Raises:
        ConfigError: If there are none.
    """
    sources: dict[str, Sequence[DataSource]] = dict(given)
    if ends.stage is not None:
        sources = {**ends.stage.sets, **given}
    if not sources:
        raise ConfigError(
            ends.tuned,
            "there is nothing to measure on: its run, if any, was measured on no sets",
            "give --in-domain and --general",
        )
    return sources


def check_sweep(shares: Sequence[float], out: Path | None) -> None:
    """See that there are shares, and a place for the best.

    Raises:
        ConfigError: If there are none, or one is not from 0 to 1.
        CheckpointError: If the place is taken.
    """
    if not shares:
        raise ConfigError("shares", "there are none", "such as 0, 0.5 and 1")
    for share in shares:
        check_share(share)
    if out is not None:
        check_new(out)


@contextmanager
def _footage(model: DualEncoder, ends: Ends, workers: int) -> Iterator[Footage]:
    """Frames, where the run's training keeps them; otherwise they are gone when all is measured."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if ends.run is None else ends.run.parent / ".cache"
        yield Footage(
            DualEyes(model),
            Cache(keep="frames"),
            folder,
            tower_trains=True,
            needs_views=True,
            workers=workers,
        )


def _read(footage: Footage, sets: Sets, report: Reporter) -> dict[Clip, str]:
    items = dict.fromkeys((clip.media[0], 1) for clips in sets.values() for clip in clips)
    return footage.prepare(list(items), lambda done, total: report("read clips", done, total))


def _usable(sets: Sets, broken: Mapping[Clip, str]) -> dict[str, list[ClipCaptions]]:
    usable = {name: [c for c in clips if c.media[0] not in broken] for name, clips in sets.items()}
    for name, clips in usable.items():
        if not clips:
            raise ConfigError(
                name, f"none of its clips can be used: {next(iter(broken.values()))}", "check the files"
            )
    return usable


def _measured(
    way: Iterable[tuple[float, DualEncoder]],
    count: int,
    ends: Ends,
    footage: Footage,
    sets: Sets,
    report: Reporter,
) -> Swept:
    """Retrieval of every model on the way."""
    together = (Batching() if ends.stage is None else ends.stage.batching).clips
    found: dict[float, Mapping[str, BothWays]] = {}
    report("interpolate", 0, count)
    for share, model in way:
        found[share] = {
            name: both_ways(*cosines(model, footage, clips, together)) for name, clips in sets.items()
        }
        report("interpolate", len(found), count)
    sizes = {name: (len(clips), sum(len(clip.ids) for clip in clips)) for name, clips in sets.items()}
    return Swept(ends, sizes, found)
