"""What a person decided of labels: it goes before all checks, and tells how far these can be trusted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from vidapt.cleaning.labels import Fate, Label, Verdict
from vidapt.cleaning.pipeline import Judged
from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.metrics.kappa import cohen_kappa
from vidapt.nouns import Sample
from vidapt.strict import Strict

PERSON = "person"
"""The name under which decisions stand among the checks."""

_MOST_LETTERS = 1 << 20


class Decision(Strict):
    """A line of a file of decisions.

    Attributes:
        id: Of the row.
        verdict: What becomes of it; `undecided` takes back what was decided before.
        text: Of a `rewrite`: what is to be said in the place of its last answer.
        reason: For whoever reads the rejected rows.
        by: Who decided.
        of: Digest of the texts that were looked at (`about`): a row that says something else by now is
            another one. Empty where nobody noted it.
        check: Which check had changed the row; empty if none had, or nobody noted it.
    """

    id: str = Field(min_length=1)
    verdict: Literal["keep", "rewrite", "drop", "undecided"]
    text: str = Field("", max_length=_MOST_LETTERS)
    reason: str = Field("", max_length=10_000)
    by: str = Field("", max_length=200)
    of: str = Field("", max_length=64)
    check: str = Field("", max_length=200)

    @model_validator(mode="after")
    def _has_text(self) -> Decision:
        if (self.verdict == "rewrite") != bool(self.text.strip()):
            raise ValueError("`text` belongs to `rewrite`, and to nothing else")
        return self


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


def read_decisions(path: Path, *, cut_off: bool = False) -> dict[str, Decision]:
    """Read decisions; of several about one row the last one holds.

    Args:
        path: JSON lines.
        cut_off: Whether a last line that has no end, as a loss of power may leave it, is passed over.

    Raises:
        ConfigError: Naming the line that is none.
    """
    found: dict[str, Decision] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if cut_off and _is_cut_off(line):
                    break
                if line.strip():
                    one = _decision(line, f"{path}:{number}")
                    found.pop(one.id, None)
                    if one.verdict != "undecided":
                        found[one.id] = one
    except OSError as error:
        raise ConfigError(path, f"cannot be read ({error.strerror})", "name a file of decisions") from error
    return found


def _is_cut_off(line: bytes) -> bool:
    """Whether a line begins as one that was written here and is no whole one."""
    if line.endswith(b"\n") or not line.startswith(b'{"id": "'):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def about(sample: Sample) -> str:
    """Digest of a row's texts, by which a decision knows its row again."""
    return digest([[turn.role, turn.text] for turn in sample.turns] + list(sample.references), 16)


def fits(decision: Decision, sample: Sample) -> bool:
    """Whether a decision about a row of this id is about these texts."""
    return decision.of in ("", about(sample))


def fitting(path: Path, decisions: Mapping[str, Decision], samples: Iterable[Sample]) -> dict[str, Decision]:
    """The decisions that are about rows as they are.

    Args:
        path: Where they were read.
        decisions: By ids of rows.
        samples: The rows.

    Raises:
        ConfigError: If none of them is: they were made of other labels.
    """
    found = {
        one.id: decisions[one.id] for one in samples if one.id in decisions and fits(decisions[one.id], one)
    }
    if decisions and not found:
        raise ConfigError(
            path,
            f"none of its {len(decisions)} decisions is about these labels; the first is about "
            f"{next(iter(decisions))!r}",
            "give the labels that were decided on, as they were then; ids are those of their rows",
        )
    return found


def _decision(line: bytes, where: str) -> Decision:
    remedy = 'write {"id": "...", "verdict": "keep"}, or `rewrite` with a `text`, or `drop`'
    try:
        return Decision.model_validate(json.loads(line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        found = f"is no decision: {place}: {first['msg'].removeprefix('Value error, ')}"
        raise ConfigError(where, found, remedy) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(where, f"is no JSON ({error})", remedy) from None


def fate(sample: Sample, decision: Decision) -> Fate | None:
    """What a decision makes of a row; None where it is kept as it is."""
    reason = decision.reason or "decided by a person"
    if decision.verdict == "drop":
        return Fate(sample, Verdict("drop", reason), PERSON, 1)
    last = Label(sample, len(sample.turns) - 1)
    if decision.verdict == "keep" or last.text == decision.text:
        return None
    return Fate(sample, Verdict("rewrite", reason, decision.text), PERSON, 1, last.rewritten(decision.text))


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
