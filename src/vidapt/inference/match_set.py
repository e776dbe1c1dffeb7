"""How well statements fit the clips of a whole set: true against false ones, and retrieval."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from vidapt.errors import BrokenClip, ConfigError
from vidapt.inference.matchers import Matcher
from vidapt.labelling.cases import Case
from vidapt.metrics.intervals import Interval, mean_interval
from vidapt.metrics.retrieval import BothWays, both_ways, dual_softmax
from vidapt.progress import Reporter, silent

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Told:
    """How true statements fare against false ones about the same clip.

    Attributes:
        pairs: Pairs of a true and a false statement.
        wins: Share of pairs whose true statement has the higher score, a tie counting half; chance is 0.5.
        margin: Mean margin of a row's worst true statement above its best false one.
    """

    pairs: int
    wins: Interval
    margin: Interval

    def row(self, name: str) -> list[str]:
        """As a line of a table: name, pairs, wins, its interval, margin."""
        wins = self.wins
        return [
            name,
            str(self.pairs),
            f"{wins.value:.3f}",
            f"{wins.low:.3f} to {wins.high:.3f}",
            f"{self.margin.value:.3f}",
        ]


@dataclass(frozen=True, slots=True)
class MatchedSet:
    """A set of clips with their statements.

    Attributes:
        model: Name of the model.
        unit: What the scores are.
        clips: How many were used.
        broken: What is wrong with the others, by their id.
        unreadable: What is wrong with the statements that were left out.
        all: Of all rows with true and false statements; None if there is no such row.
        kinds: The same of each kind of row.
        longer: The same of the pairs whose false statement has more words than the true one.
        retrieval: Text from clip and clip from text among all true statements, if it was asked for.
        dual_softmax: The same after dual softmax, which uses the other queries; for cosines only.
    """

    model: str
    unit: str
    clips: int
    broken: dict[str, str]
    unreadable: dict[str, str]
    all: Told | None
    kinds: dict[str, Told]
    longer: Told | None
    retrieval: BothWays | None = None
    dual_softmax: BothWays | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        tables = {"retrieval": self.retrieval, "dual_softmax": self.dual_softmax}
        ways = {key: None if table is None else table.to_dict() for key, table in tables.items()}
        told = {
            "all": self.all and asdict(self.all),
            "longer": self.longer and asdict(self.longer),
            "kinds": {kind: asdict(one) for kind, one in self.kinds.items()},
        }
        return {
            "model": self.model,
            "unit": self.unit,
            "clips": self.clips,
            "broken": self.broken,
            "unreadable": self.unreadable,
            **told,
            **ways,
        }

    def rows(self) -> list[list[str]]:
        """As a table: kind, pairs, wins, its interval, margin."""
        rows = [] if self.all is None else [self.all.row("all")]
        rows += [told.row(kind) for kind, told in self.kinds.items()]
        return rows if self.longer is None else [*rows, self.longer.row("longer but false")]

    def retrieval_rows(self) -> list[list[str]]:
        """As a table: way, recalls, median and mean rank."""
        tables = (("", self.retrieval), (", dual softmax", self.dual_softmax))
        return [
            [
                f"{way}{suffix}",
                *(f"{found.recall[k]:.3f}" for k in sorted(found.recall)),
                f"{found.median_rank:g}",
                f"{found.mean_rank:.2f}",
            ]
            for suffix, table in tables
            if table is not None
            for way, found in (("text from clip", table.to_text), ("clip from text", table.to_video))
        ]


@dataclass(frozen=True, slots=True)
class _Row:
    """A case with the scores of its statements."""

    case: Case
    true: tuple[float, ...]
    false: tuple[float, ...]


def match_set(
    matcher: Matcher,
    cases: Sequence[Case],
    *,
    with_retrieval: bool = False,
    workers: int | None = None,
    report: Reporter = silent,
) -> MatchedSet:
    """Score the statements of many clips, each of which is seen once.

    Clips that cannot be used, and statements that the model cannot read, cost no more than themselves and
    are named.

    Args:
        matcher: The model.
        cases: Statements about clips.
        with_retrieval: Also score every clip with all true statements of the set. A statement that is given
            as true of several clips fits all of them.
        workers: Decoding processes; None is one per core.
        report: Told after each clip how far the work is.

    Raises:
        ConfigError: If no clip can be used.
    """
    unreadable = matcher.unreadable([text for case in cases for text in (*case.true, *case.false)])
    cases = [_readable(case, unreadable) for case in cases]
    by_clip: dict[tuple[Path, float, float | None], list[Case]] = {}
    for case in cases:
        by_clip.setdefault((case.clip.path, case.clip.start_s, case.clip.end_s), []).append(case)
    groups = list(by_clip.values())
    texts = list(dict.fromkeys(text for case in cases for text in case.true)) if with_retrieval else []
    rows: list[_Row] = []
    table: list[list[float]] = []
    right: list[list[bool]] = []
    broken: dict[str, str] = {}
    for group, seen in zip(groups, _seen(matcher, groups, workers, report), strict=True):
        if isinstance(seen, BrokenClip):
            broken[group[0].clip.id] = seen.reason
            continue
        rows += _scored(matcher, seen, group)
        if texts:
            told = {text for case in group for text in case.true}
            table.append(matcher.scores(seen, texts))
            right.append([text in told for text in texts])
    if len(broken) == len(groups):
        raise ConfigError("data", f"no clip can be used: {next(iter(broken.values()))}", "check the clips")
    found = MatchedSet(
        model=matcher.name,
        unit=matcher.unit,
        clips=len(groups) - len(broken),
        broken=broken,
        unreadable=unreadable,
        all=_told(rows),
        kinds=_by_kind(rows),
        longer=_told(_longer(rows)),
        retrieval=both_ways(table, right) if table else None,
        dual_softmax=both_ways(table, right, change=dual_softmax) if table and matcher.cosines else None,
    )
    return found


def _readable(case: Case, unreadable: Mapping[str, str]) -> Case:
    """A case without the statements that cannot be read."""
    true, false = (
        tuple(text for text in texts if text not in unreadable) for texts in (case.true, case.false)
    )
    return replace(case, true=true, false=false)


def _seen(
    matcher: Matcher, groups: Sequence[Sequence[Case]], workers: int | None, report: Reporter
) -> Iterator[Any | BrokenClip]:
    """What the model sees of each group's clip."""
    count = (os.cpu_count() or 1) if workers is None else workers
    stream = matcher.watch([group[0].clip for group in groups], count)
    with contextlib.closing(cast("Generator[Any, None, None]", stream)):
        for number, seen in enumerate(stream, start=1):
            yield seen
            report("match", number, len(groups))


def _scored(matcher: Matcher, seen: Any, group: Sequence[Case]) -> Iterator[_Row]:
    """The rows of one clip; all its statements are scored together."""
    texts = list(dict.fromkeys(text for case in group for text in (*case.true, *case.false)))
    score = dict(zip(texts, matcher.scores(seen, texts), strict=True))
    for case in group:
        yield _Row(case, tuple(score[text] for text in case.true), tuple(score[text] for text in case.false))


def _told(rows: Sequence[_Row]) -> Told | None:
    """Wins and margins, with clips resampled as wholes."""
    both = [row for row in rows if row.true and row.false]
    if not both:
        return None
    pairs = [(float(np.sign(t - f)) / 2 + 0.5, row) for row in both for t in row.true for f in row.false]
    margins = [min(row.true) - max(row.false) for row in both]
    return Told(
        len(pairs),
        mean_interval([win for win, _ in pairs], [_clip(row) for _, row in pairs], resamples=RESAMPLES),
        mean_interval(margins, [_clip(row) for row in both], resamples=RESAMPLES),
    )


def _clip(row: _Row) -> tuple[Path, float, float | None]:
    clip = row.case.clip
    return clip.path, clip.start_s, clip.end_s


def _by_kind(rows: Sequence[_Row]) -> dict[str, Told]:
    kinds = sorted({row.case.kind for row in rows if row.case.kind})
    found = {kind: _told([row for row in rows if row.case.kind == kind]) for kind in kinds}
    return {kind: told for kind, told in found.items() if told is not None}


def _longer(rows: Sequence[_Row]) -> list[_Row]:
    """Every pair whose false statement has more words than the true one, as a row of its own."""
    return [
        _Row(row.case, (t,), (f,))
        for row in rows
        for t, true in zip(row.true, row.case.true, strict=True)
        for f, false in zip(row.false, row.case.false, strict=True)
        if len(false.split()) > len(true.split())
    ]
