"""Models along the way from one to another, measured on sets; each clip is decoded once for all of them.

Source: the curves of WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from vidapt.errors import ConfigError
from vidapt.files import write_json
from vidapt.formats import check
from vidapt.loading import usable_device
from vidapt.nouns import Clip, Sample
from vidapt.progress import Reporter
from vidapt.recipe import DataSource
from vidapt.training import quarantine
from vidapt.training.align.ends import Ends
from vidapt.training.align.interpolate import along, check_new, check_share, interpolated, save_between
from vidapt.training.align.names import SWEEP
from vidapt.training.data import read_samples
from vidapt.training.footage import Footage


class OfClip(Protocol):
    """What is asked or said about a clip (or some together)."""

    @property
    def media(self) -> tuple[Clip, ...]:
        """The clips."""
        ...


class Told(Protocol):
    """What was found of a model on a set."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        ...


C = TypeVar("C", bound=OfClip)
F = TypeVar("F", bound=Told)


class Gauge(Protocol[C, F]):
    """How a model is measured on a set."""

    @property
    def rule(self) -> str:
        """Which share is best, in words."""
        ...

    @property
    def head(self) -> tuple[str, ...]:
        """Names of a table's columns: share, set, and those of `cells`."""
        ...

    def sets(
        self,
        ends: Ends,
        samples: Mapping[str, Sequence[Sample]],
        given: frozenset[str],
        model: Any,
        tokenizer: Any,
    ) -> Mapping[str, Sequence[C]]:
        """What is measured on, by set; `given` names those that are not the run's own.

        Raises:
            ConfigError: If nothing can be.
        """
        ...

    def footage(
        self, model: Any, ends: Ends, sets: Mapping[str, Sequence[C]], folder: Path, workers: int
    ) -> Footage:
        """Where the clips' frames come from, which are kept in `folder`."""
        ...

    def measure(self, model: Any, tokenizer: Any, footage: Footage, clips: Sequence[C]) -> F:
        """What a model does on a set."""
        ...

    def size(self, clips: Sequence[C]) -> dict[str, int]:
        """How much a set holds."""
        ...

    def score(self, found: F) -> tuple[float, float]:
        """Higher is better; the second number tells equals apart."""
        ...

    def cells(self, told: Mapping[str, Any]) -> list[list[str]]:
        """Rows of a table of what `F.to_dict` gives, without share and set."""
        ...


@dataclass(frozen=True)
class Swept(Generic[C, F]):
    """What was found along the way.

    Attributes:
        ends: The two models.
        gauge: How it was found.
        sizes: How much each set holds.
        found: By share of the tuned model, and by set.
        broken: Clips that were left out, with their reasons.
    """

    ends: Ends
    gauge: Gauge[C, F]
    sizes: Mapping[str, Mapping[str, int]]
    found: Mapping[float, Mapping[str, F]]
    broken: Mapping[Clip, str] = field(default_factory=dict)

    @property
    def best(self) -> float:
        """The share with the highest sum of scores over the sets; of equal ones the smallest."""
        return max(sorted(self.found), key=self._score)

    def _score(self, share: float) -> tuple[float, float]:
        first, second = zip(*map(self.gauge.score, self.found[share].values()), strict=True)
        return sum(first), sum(second)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "start": self.ends.start,
            "tuned": self.ends.tuned,
            "sets": {name: dict(size) for name, size in self.sizes.items()},
            "shares": [
                {"share": share, **{name: found.to_dict() for name, found in by_set.items()}}
                for share, by_set in self.found.items()
            ],
            "best": {"share": self.best, "rule": self.gauge.rule},
            "broken": quarantine.rows(self.broken),
        }

    def rows(self) -> list[list[str]]:
        """A table under the gauge's `head`."""
        return rows_of(self.gauge, self.to_dict())


def rows_of(gauge: Gauge[C, F], swept: Mapping[str, Any]) -> list[list[str]]:
    """Rows of a table of what `Swept.to_dict` gives."""
    return [
        [f"{one['share']:g}", name.replace("_", " "), *cells]
        for one in swept["shares"]
        for name in one
        if name != "share"
        for cells in gauge.cells(one[name])
    ]


def sweep(
    gauge: Gauge[C, F],
    ends: Ends,
    shares: Sequence[float],
    given: Mapping[str, Sequence[DataSource]],
    *,
    out: Path | None = None,
    workers: int | None = None,
    device: str = "cpu",
    report: Reporter,
) -> Swept[C, F]:
    """Measure models between two. What is found is kept in the run's folder as `interpolation.json`.

    Args:
        gauge: How.
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
    sets = gauge.sets(ends, samples, frozenset(given), second, tokenizer)
    for model in (first, second):
        model.to(usable_device(device))
    found: dict[float, Mapping[str, F]] = {}
    with _folder(ends) as folder:
        footage = gauge.footage(
            second, ends, sets, folder, os.cpu_count() or 1 if workers is None else workers
        )
        sets, broken = _usable(footage, sets, report)
        report("interpolate", 0, len(set(shares)))
        for share, model in along(first, second, sorted(set(shares))):
            found[share] = {
                name: gauge.measure(model, tokenizer, footage, clips) for name, clips in sets.items()
            }
            report("interpolate", len(found), len(set(shares)))
    swept = Swept(ends, gauge, {name: gauge.size(clips) for name, clips in sets.items()}, found, broken)
    if ends.run is not None:
        write_json(ends.run / SWEEP, swept.to_dict())
    if out is not None:
        told = {
            "rule": gauge.rule,
            "measured": {name: one.to_dict() for name, one in found[swept.best].items()},
        }
        save_between(out, interpolated(first, second, swept.best), tokenizer, ends, swept.best, told)
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
def _folder(ends: Ends) -> Iterator[Path]:
    """Of frames: where the run's training keeps them; otherwise they are gone when all is measured."""
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary) if ends.run is None else ends.run.parent / ".cache"


def _usable(
    footage: Footage, sets: Mapping[str, Sequence[C]], report: Reporter
) -> tuple[Mapping[str, Sequence[C]], dict[Clip, str]]:
    """The sets without clips that are broken, and these."""
    items = dict.fromkeys((clip, len(c.media)) for clips in sets.values() for c in clips for clip in c.media)
    broken = footage.prepare(list(items), lambda done, total: report("read clips", done, total))
    usable = {name: [c for c in clips if broken.keys().isdisjoint(c.media)] for name, clips in sets.items()}
    for name, clips in usable.items():
        if not clips:
            reason = next(iter(broken.values()))
            raise ConfigError(name, f"none of its clips can be used: {reason}", "check the files")
    return usable, broken
