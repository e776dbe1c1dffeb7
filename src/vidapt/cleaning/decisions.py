"""What a person decided of labels: it goes before all checks, and tells how far these can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vidapt.cleaning.labels import Fate, Verdict
from vidapt.cleaning.pipeline import Judged
from vidapt.decisions import Decision, decided
from vidapt.metrics.kappa import cohen_kappa
from vidapt.nouns import Sample

PERSON = "person"
"""The name under which decisions stand among the checks."""


@dataclass(frozen=True)
class Agreement:
    """How far checks and a person agree.

    Attributes:
        decided: Rows that a person decided and that are there.
        unknown: Decisions about rows that are not.
        kappa: Cohen's kappa of "kept as it was" against all else; None where one of both has no say.
        table: Rows by what the person and what the checks say: `keep/keep`, `keep/not`, ...
        checks: For each check that would have changed decided rows, how many of them, and of these how many
            the person did not keep either.
    """

    decided: int
    unknown: int
    kappa: float | None
    table: Mapping[str, int]
    checks: Mapping[str, tuple[int, int]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        plain = asdict(self)
        plain["checks"] = {name: {"changed": n, "right": right} for name, (n, right) in self.checks.items()}
        return plain


def fate(sample: Sample, decision: Decision) -> Fate | None:
    """What a decision makes of a row; None where it is kept as it is."""
    reason = decision.reason or "decided by a person"
    now = decided(sample, decision)
    if now is None:
        return Fate(sample, Verdict("drop", reason), PERSON, 1)
    return None if now is sample else Fate(sample, Verdict("rewrite", reason, decision.text), PERSON, 1, now)


def agreement(decisions: Mapping[str, Decision], opinions: Judged, unknown: int = 0) -> Agreement:
    """Hold decisions against what the checks say of all rows; further ones are about no row."""
    there = {key: one for key, one in decisions.items() if key in opinions.kept or key in opinions.fates}
    pairs = {
        key: ("keep" if one.verdict == "keep" else "not", "not" if key in opinions.fates else "keep")
        for key, one in there.items()
    }
    counts = Counter("/".join(pair) for pair in pairs.values())
    names = ("keep/keep", "keep/not", "not/keep", "not/not")
    kappa = cohen_kappa(pairs.values())
    changed: dict[str, tuple[int, int]] = {}
    for key, (person, checks) in pairs.items():
        if checks == "not":
            n, right = changed.get(opinions.fates[key].check, (0, 0))
            changed[opinions.fates[key].check] = n + 1, right + (person == "not")
    return Agreement(
        len(there),
        len(decisions) - len(there) + unknown,
        None if kappa is None else round(kappa, 4),
        {name: counts[name] for name in names},
        dict(sorted(changed.items())),
    )
