"""What a model's tower does not hold: neither in it nor behind the connector `vidapt probe` found such facts.

A model that learns to state what it cannot see learns to make things up. Rows of such a type are set aside;
of a caption whose clauses are known, those that tell nothing else are taken out whole, since a masked value
leaves the opening that asks for it. Source: Gekhman et al. 2024, arXiv 2405.05904, on unknown facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop, rewrite
from vidapt.metrics.question_types import asked
from vidapt.parts import PartConfig
from vidapt.probing.result import Judged, read_types
from vidapt.strict import Place


class Part:
    """Sets aside what cannot be seen.

    Raises:
        ConfigError: If the file of probes cannot be read.
    """

    version = 1

    class Config(PartConfig):
        """Options.

        Attributes:
            probe: What `vidapt probe` wrote of the model that is to learn.
            below: Visibility under which a type that was found not to be there counts as invisible.
        """

        probe: Place
        below: float = Field(0.25, gt=0, le=1)

    def __init__(self, cfg: Config, given: Given = NOTHING, types: Sequence[Judged] | None = None) -> None:
        del given
        self.cfg = cfg
        known = read_types(cfg.probe) if types is None else types
        unseen = [one for one in known if one.verdict == "unseen" and one.visibility < cfg.below]
        self._by_type = {one.name: one for one in unseen if one.kind == "question"}
        self._by_wording = {wording: one for one in unseen for wording in one.wordings}
        self._stated = {one.name: one for one in unseen if one.kind == "stated"}

    @staticmethod
    def files(cfg: Config) -> dict[str, Path]:
        """What it reads, by the names of the options."""
        return {"probe": cfg.probe}

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge labels by the type of their question, and captions by their clauses."""
        for label in labels:
            found = self._asks(label)
            yield self._clauses(label) if found is None else drop(_told(found))

    def _asks(self, label: Label) -> Judged | None:
        sample = label.single
        if "type" in sample.facts:
            return self._by_type.get(str(sample.facts["type"]))
        return self._by_wording.get(asked(sample))

    def _clauses(self, label: Label) -> Verdict:
        clauses = () if label.origin is None else label.origin.clauses
        # A text that another check has changed is not that of its clauses any more.
        if not self._stated or " ".join(text for text, _ in clauses) != label.text:
            return KEEP
        gone = [bool(types) and all(one in self._stated for one in types) for _, types in clauses]
        if not any(gone):
            return KEEP
        first = next(types[0] for (_, types), out in zip(clauses, gone, strict=True) if out)
        kept = " ".join(text for (text, _), out in zip(clauses, gone, strict=True) if not out)
        told = f"{sum(gone)} of {len(clauses)} clauses: {_told(self._stated[first])}"
        return rewrite(kept, told) if kept else drop(told)


def _told(one: Judged) -> str:
    return f"the tower does not hold {one.name!r}: visibility {one.visibility:.2f}"


def tiny() -> Part:
    """The check where nothing is invisible."""
    return Part(Part.Config(probe="probe.json"), types=())
