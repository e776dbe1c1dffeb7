"""What models are asked, so that all protocols of a test can be carried out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from vidapt import parts
from vidapt.curation.ties import sessions
from vidapt.digests import digest
from vidapt.errors import ConfigError, nearest
from vidapt.metrics.cases import Case, CaseProtocol, Posed, Told
from vidapt.nouns import Clip, Sample, Turn

FAMILY: parts.Family = "metrics.protocols"


@dataclass(frozen=True)
class Chosen:
    """A protocol on a test.

    Attributes:
        kind: Its name.
        part: It.
        cases: Of the test.
        questions: By a case's id, the ids of the questions that models are asked; empty where options are
            scored.
    """

    kind: str
    part: CaseProtocol
    cases: tuple[Case, ...]
    questions: Mapping[str, tuple[str, ...]]

    @property
    def scored(self) -> bool:
        """Whether likelihoods are asked for in place of answers."""
        return any(posed.options for case in self.cases for posed in case.posed)

    @property
    def versus(self) -> bool:
        """Whether it holds two models' answers against each other."""
        return bool(getattr(self.part, "versus", False))

    @property
    def identity(self) -> list[Any]:
        """What its verdicts depend on, beside judge and answers."""
        config: Any = getattr(self.part, "cfg", None)
        options = {} if config is None else config.model_dump(mode="json")
        return [self.kind, self.part.version, digest(list(getattr(self.part, "prompts", ())), 16), options]

    def told(self, answers: Mapping[str, str]) -> Iterator[Told]:
        """Cases with what somebody said; those of which a question was never put are left out."""
        for case in self.cases:
            names = self.questions[case.id]
            if all(name in answers for name in names):
                yield Told(case, tuple(answers[name] for name in names))


@dataclass(frozen=True)
class Planned:
    """Protocols on a test.

    Attributes:
        chosen: The protocols.
        samples: What models are asked for all of them; a question that several ask is one.
    """

    chosen: tuple[Chosen, ...]
    samples: tuple[Sample, ...]

    @property
    def judged(self) -> list[str]:
        """Names of those that need a judge."""
        return [one.kind for one in self.chosen if one.part.judged]


def plan_protocols(
    rows: Sequence[Sample],
    kinds: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    by: str | None = None,
) -> Planned:
    """Choose protocols and make their questions.

    A row that names protocols (`protocol`, one or a list) is of these alone. Where none is wanted by name,
    all that rows name are carried out.

    Args:
        rows: The test.
        kinds: Protocols that are wanted.
        options: Of protocols, by their names.
        by: What clips are taken from, where rows name no `source`; see `curation.ties.sessions`.

    Raises:
        ConfigError: If there is no such protocol, an option or a column is wrong, or no row is left for one.
    """
    own = {row.id: _named(row) for row in rows}
    wanted = list(dict.fromkeys(kinds or [kind for names in own.values() for kind in names]))
    if not wanted:
        raise ConfigError("--protocol", "no row names a protocol", f"known: {', '.join(parts.kinds(FAMILY))}")
    for kind in options:
        if ":" not in kind and kind not in parts.kinds(FAMILY):
            raise ConfigError(f"protocols.{kind}", "is no protocol", nearest(kind, parts.kinds(FAMILY)))
    sources, _ = sessions(list(dict.fromkeys(row.media[0] for row in rows if row.media)), by)
    named_source = {row.id for row in rows if row.facts.get("source")}
    questions = _Questions()
    chosen = []
    for kind in wanted:
        part = _built(kind, options.get(kind, {}))
        mine = [row for row in rows if not own[row.id] or kind in own[row.id]]
        about_one = [row for row in mine if len(row.media) == 1]
        if not about_one:
            raise ConfigError(
                kind,
                "no row is for it",
                "give it rows about one clip each that name it, or no protocol at all",
            )
        cases = tuple(
            case if case.row in named_source else replace(case, source=sources[case.clip])
            for case in part.cases(about_one)
        )
        if not cases:
            raise ConfigError(kind, "makes no case of these rows", "see the columns that it needs")
        named = {case.id: tuple(questions.names(kind, case)) for case in cases}
        chosen.append(Chosen(kind, part, cases, named))
    return Planned(tuple(chosen), tuple(questions.samples.values()))


class _Questions:
    """Questions by clip and words; a question that several protocols put is asked once."""

    def __init__(self) -> None:
        self.samples: dict[tuple[Clip, str], Sample] = {}
        self._taken: set[str] = set()

    def names(self, kind: str, case: Case) -> Iterator[str]:
        """Ids of a case's questions, which are noted."""
        for number, posed in enumerate(case.posed):
            if posed.options:
                continue
            key = (case.clip, posed.text)
            if key not in self.samples:
                self.samples[key] = _question(self._free(kind, case, number), kind, case, posed)
            yield self.samples[key].id

    def _free(self, kind: str, case: Case, number: int) -> str:
        """A name that is not taken: the row's own, if it can be."""
        plain = case.row if number == 0 and case.id == case.row else f"{case.id}#{number}"
        names = (plain, f"{case.id}#{number}", f"{kind}/{case.id}#{number}")
        name = next((name for name in names if name not in self._taken), "")
        if not name:
            raise ConfigError(case.row, f"{plain!r} is the name of two questions", "give each row an id")
        self._taken.add(name)
        return name


def _question(name: str, kind: str, case: Case, posed: Posed) -> Sample:
    turns = (Turn("user", posed.text), Turn("assistant", posed.reference or "-"))
    facts: dict[str, Any] = {"type": f"{kind} {case.kind}".strip()}
    facts |= {"accept": list(posed.accept)} if posed.accept else {"value": "text"}
    return Sample(name, (case.clip,), turns, facts=facts, source=f"{kind}: row {case.row}")


def _built(kind: str, options: Mapping[str, Any]) -> CaseProtocol:
    known = parts.kinds(FAMILY)
    if ":" not in kind and kind not in known:
        raise ConfigError("--protocol", f"there is none called {kind!r}", nearest(kind, known))
    try:
        part: CaseProtocol = parts.build(FAMILY, {**options, "kind": kind})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, ("protocols", kind, *first["loc"])))
        fields = ", ".join(parts.find(FAMILY, kind).Config.model_fields) or "none"
        raise ConfigError(place, first["msg"], f"options of {kind}: {fields}") from None
    return part


def _named(row: Sample) -> tuple[str, ...]:
    given = row.facts.get("protocol", ())
    names = (given,) if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(
            row.source or row.id, f"its `protocol` is {given!r}", "write a name, or a list of names"
        )
    return tuple(names)
