"""What labels cost for each clip that keeps one: all that was spent, on whatever clip, over the kept ones."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Maker = Literal["teacher", "student"]
"""Who made a label: one that was asked by `vidapt label`, or the model that `vidapt caption` ran."""


@dataclass(frozen=True, slots=True)
class Made:
    """What was spent on one clip.

    Attributes:
        by: Who made its labels.
        calls: Questions that were answered.
        tokens: Read and written.
        seconds: That answers took.
        money: What they cost, in the currency of the prices; None where that is not known.
    """

    by: Maker
    calls: int
    tokens: int
    seconds: float
    money: float | None

    @classmethod
    def of_usage(cls, usage: Mapping[str, Any]) -> Made:
        """By a teacher, as provenance and quarantine tell it.

        Raises:
            KeyError, TypeError, ValueError: If they do not.
        """
        money = usage["money"]
        tokens = int(usage["read"]) + int(usage["written"])
        return cls(
            "teacher",
            int(usage["calls"]),
            tokens,
            float(usage["seconds"]),
            None if money is None else float(money),
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What was spent by one kind of maker.

    Attributes:
        by: Who.
        clips: Clips that something was spent on.
        kept: Clips of which a label is kept.
        calls: Of all clips.
        tokens: Likewise.
        seconds: Likewise.
        money: Likewise; None where it is not known of all.
    """

    by: Maker
    clips: int
    kept: int
    calls: int
    tokens: int
    seconds: float
    money: float | None

    @property
    def each(self) -> dict[str, float | None]:
        """Money, seconds and tokens for each clip that is kept; None where none is, or nobody knows."""
        if not self.kept:
            return {"money": None, "seconds": None, "tokens": None}
        return {
            "money": None if self.money is None else round(self.money / self.kept, 9),
            "seconds": round(self.seconds / self.kept, 3),
            "tokens": round(self.tokens / self.kept, 1),
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"per_kept_clip": self.each}

    def row(self) -> list[str]:
        """As a line of a table: who, clips, kept ones, and for each of these money, seconds, tokens."""
        shown = {name: "unknown" if value is None else f"{value:.4g}" for name, value in self.each.items()}
        head = [self.by, str(self.clips), str(self.kept)]
        return [*head, shown["money"], shown["seconds"], shown["tokens"]]


HEAD = ("made by", "clips", "kept", "money for each kept", "seconds", "tokens")


def costs(made: Mapping[str, Made], kept: Collection[str]) -> list[Cost]:
    """Sum up by maker.

    Args:
        made: What was spent, by clip.
        kept: Clips of which a label is kept.
    """
    return list(_costs(made, set(kept)))


def _costs(made: Mapping[str, Made], kept: Collection[str]) -> Iterator[Cost]:
    makers: Sequence[Maker] = ("teacher", "student")
    for by in makers:
        some = {key: one for key, one in made.items() if one.by == by}
        if not some:
            continue
        money = [one.money for one in some.values()]
        known = [one for one in money if one is not None]
        yield Cost(
            by=by,
            clips=len(some),
            kept=len(some.keys() & kept),
            calls=sum(one.calls for one in some.values()),
            tokens=sum(one.tokens for one in some.values()),
            seconds=round(sum(one.seconds for one in some.values()), 3),
            money=round(sum(known), 9) if len(known) == len(money) else None,
        )
