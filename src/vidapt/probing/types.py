"""Types of facts, with what all probes of each say together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from vidapt.metrics.intervals import mean_interval
from vidapt.metrics.match import is_match, normalise
from vidapt.probing.facts import Example, Fact
from vidapt.probing.numbers import RESAMPLES, Known, Right, gain, known
from vidapt.probing.order import Order, Settings, is_enough
from vidapt.probing.pooled import CONNECTOR
from vidapt.probing.probes import PROBES, Probed, probe
from vidapt.probing.result import Type
from vidapt.probing.seen import Sight
from vidapt.probing.verdicts import Verdict, verdict
from vidapt.progress import Reporter


def types_of(
    facts: Sequence[Fact],
    sight: Sight,
    order: Order,
    settings: Settings,
    device: str,
    report: Reporter,
) -> list[Type]:
    """Probe all facts, and judge each type; the least visible come first, what was too few last."""
    by_type: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in facts:
        by_type[fact.kind, fact.type].append(fact)
    total = sum(_is_probed(fact, order, settings) for fact in facts)
    done, types = 0, []
    report("probe facts", 0, total)
    for members in by_type.values():
        probed = []
        for fact in members:
            if _is_probed(fact, order, settings):
                probed.append(_probe(fact, sight, order, settings, device))
                done += 1
                report("probe facts", done, total, fact.name)
        # What teachers state is often stated of one clip alone, and would be told without an end.
        if probed or members[0].kind == "question":
            types.append(_type(members, probed, sight))
    return sorted(types, key=lambda one: (one.majority is None, _seen(one), one.name))


def _seen(one: Type) -> float:
    return max((probes["chosen"].value for probes in one.places.values()), default=0.0)


def _is_probed(fact: Fact, order: Order, settings: Settings) -> bool:
    return is_enough(fact, settings) and len({order.fold[one.clip] for one in fact.examples}) >= 3


def _probe(fact: Fact, sight: Sight, order: Order, settings: Settings, device: str) -> Probed:
    return probe(
        fact,
        [order.source[one.clip] for one in fact.examples],
        [order.fold[one.clip] for one in fact.examples],
        lambda place: [sight.places(one.clip)[place] for one in fact.examples],
        list(sight.places(fact.examples[0].clip)),
        with_attentive=settings.attentive,
        device=device,
    )


def _type(members: Sequence[Fact], probed: Sequence[Probed], sight: Sight) -> Type:
    """What is found of a type: all that was probed of it together."""
    used = [one for part in probed for one in part.fact.examples]
    sources = [source for part in probed for source in part.sources]
    counted = {part.fact.name: len(part.fact.examples) for part in probed}
    head = members[0]
    empty = Type(
        name=head.type,
        kind=head.kind,
        n=len(used) or sum(len(fact.examples) for fact in members),
        sources=len(set(sources)),
        answers=len({one.answer for one in used or [e for fact in members for e in fact.examples]}),
        facts=counted,
        left_out=sum(len(fact.examples) for fact in members if fact.name not in counted),
        wordings=sorted({normalise(one.question) for one in used if one.question}),
        majority=None,
        places={},
        own=None,
        ahead=None,
        verdict="few",
    )
    if not probed:
        return empty
    common = np.concatenate([part.common for part in probed])
    right = {
        place: {
            name: np.concatenate([part.places[place][name] for part in probed])
            for name in PROBES
            if name in probed[0].places[place]
        }
        for place in probed[0].places
    }
    places = {
        place: {name: known(one, common, sources) for name, one in probes.items()}
        for place, probes in right.items()
    }
    own = _own(used, sight)
    best = right[CONNECTOR]["chosen"]
    one = replace(
        empty,
        majority=mean_interval(common, sources, resamples=RESAMPLES),
        places=places,
        own=None if own is None else known(own, common, sources),
        ahead=None if own is None else gain(own, best, sources),
    )
    taught = sum(len(part.fact.examples) for part in probed if part.fact.is_taught)
    return replace(one, verdict=_verdict(one, taught=2 * taught >= len(used)))


def _verdict(one: Type, *, taught: bool) -> Verdict:
    tower: Mapping[str, Known] = one.places[one.tower]
    return verdict(
        tower["chosen"],
        one.places[CONNECTOR]["chosen"],
        tower["shuffled"],
        one.own,
        one.ahead,
        taught=taught,
    )


def _own(examples: Sequence[Example], sight: Sight) -> Right | None:
    """Whether the model's own answers are right; None where it was not asked."""
    said = [sight.answer(one.clip, one.question) if one.question else None for one in examples]
    if any(answer is None for answer in said):
        return None
    right = [is_match(str(answer), one.accept) for one, answer in zip(examples, said, strict=True)]
    return np.array(right, dtype=np.bool_)
