"""What a judge of text says of captions, beside what truly happened.

    python benchmarks/studies/judges.py [--seeds 0,1,2] [--clips 100]

Captions of simulated billiards are written by models whose faults are known: they tell falsehoods, leave
things out, or tell true things that the reference leaves out. The world's log says which claims are true. The
protocol `claims` asks a judge of text, which knows the reference alone; here a judge by rule, which parses
both texts and errs as often as it is told to. Writes the table of `docs/studies/measure.md` and
`results/judges_study.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _tables import write_between

from vidapt import parts
from vidapt.json_replies import parsed
from vidapt.metrics.cases import Case, Outcome, Posed, Question, Told
from vidapt.metrics.intervals import Interval, mean_interval
from vidapt.metrics.kappa import cohen_kappa
from vidapt.nouns import Clip
from vidapt.worlds.billiards import STYLES, Claim, Record, falsify, find_venue, judge, parse, story
from vidapt.worlds.billiards.claims import true_claims
from vidapt.worlds.billiards.clips import play

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "benchmarks/results/judges_study.json", ROOT / "docs/studies/measure.md"
BEGIN, END = "<!-- judges: written by `benchmarks/studies/judges.py` -->", "<!-- end of judges -->"
STYLE = STYLES["home"]
ERRORS = (0.0, 0.05, 0.1, 0.2)
RELATIONS = ("supported", "contradicted", "unmentioned")


@dataclass(frozen=True)
class Model:
    """A model whose faults are known.

    Attributes:
        name: What it is called.
        false: Share of its claims that are false.
        left_out: Share of the full description that it does not tell.
        beyond: True claims that it adds, which the reference leaves out.
    """

    name: str
    false: float
    left_out: float
    beyond: int = 0

    def caption(self, record: Record, rng: np.random.Generator) -> str:
        """What it says of a clip."""
        told: list[Claim] = []
        for claim in story(record):
            if rng.random() < self.left_out:
                continue
            wrong = falsify(claim, record, rng) if rng.random() < self.false else None
            told.append(claim if wrong is None else wrong)
        told = told or story(record)[:1]
        others = sorted(_beyond(record))
        told += [others[place] for place in rng.permutation(len(others))[: self.beyond]]
        return _text(told)


MODELS = (
    Model("true", 0.0, 0.2),
    Model("one in ten false", 0.1, 0.2),
    Model("one in four false", 0.25, 0.2),
    Model("half false", 0.5, 0.2),
    Model("brief, one in ten false", 0.1, 0.7),
    Model("true, and tells more", 0.0, 0.2, 3),
    Model("one in four false, and tells more", 0.25, 0.2, 3),
)


def _text(claims: Sequence[Claim]) -> str:
    return " ".join(f"{claim.say(STYLE)}." for claim in claims)


def _beyond(record: Record) -> set[Claim]:
    """True claims that a full description does not make, nor implies."""
    told = set(story(record)) | {Claim("hits", c.where, c.subject) for c in story(record) if c.kind == "hits"}
    kinds = ("hits", "cushion", "not_pocketed", "cushion_first", "no_break")
    return {claim for claim in true_claims(record) - told if claim.kind in kinds}


class RuleJudge:
    """Judges texts by parsing both; errs with a known probability.

    Args:
        error: Share of its relations that are another one.
        seed: Of its errors.
    """

    def __init__(self, error: float, seed: int) -> None:
        self._error, self._rng = error, np.random.default_rng([seed, round(1000 * error)])

    def __call__(self, question: Question) -> str:
        """A reply in JSON."""
        rows = question.prompt.split("\n===\n")[1].split("\n")
        given = {name: json.loads(value) for name, value in (row.split(": ", 1) for row in rows)}
        if "events" not in given:
            return json.dumps({"events": [one.strip() for one in given["text"].split(".") if one.strip()]})
        return json.dumps({"relations": [self._said(event, given["text"]) for event in given["events"]]})

    def _said(self, event: str, text: str) -> str:
        found = relation(event, text)
        if self._rng.random() >= self._error:
            return found
        others = [one for one in RELATIONS if one != found]
        return others[int(self._rng.integers(len(others)))]


def relation(event: str, text: str) -> str:
    """How a sentence stands to a text, by what both claim."""
    (claim, *_), _ = parse(event)
    claims, _ = parse(text)
    implied = set(claims) | {Claim("hits", c.where, c.subject) for c in claims if c.kind == "hits"}
    implied |= {Claim("pocketed", c.subject) for c in claims if c.kind == "pocket"}
    if claim in implied:
        return "supported"
    return "contradicted" if any(_excludes(one, claim) for one in claims) else "unmentioned"


def _excludes(one: Claim, other: Claim) -> bool:
    """Whether two claims cannot both be true: a ball is in one pocket, or in none."""
    if one.subject != other.subject:
        return False
    kinds = {one.kind, other.kind}
    if kinds == {"pocket"} or kinds == {"first_hit"}:
        return one.where != other.where
    return kinds in ({"pocket", "not_pocketed"}, {"pocketed", "not_pocketed"})


@dataclass(frozen=True)
class Judged:
    """One caption.

    Attributes:
        clip: Seed and number of the clip.
        exact: By the log: share of true and of false claims, and of the full description that is told.
        said: By the protocol: its measures.
        pairs: Of each claim, whether it is true, and whether the judge calls it supported.
    """

    clip: str
    exact: Mapping[str, float]
    said: Mapping[str, float]
    pairs: tuple[tuple[bool, bool], ...]


def judged(model: Model, record: Record, seed: int, error: float, part: Any) -> Judged:
    """Judge one caption both ways."""
    rng = np.random.default_rng([seed, record.index, *model.name.encode()])
    caption = model.caption(record, rng)
    verdict = judge(caption, record)
    count = len(verdict.supported) + len(verdict.false)
    exact = {
        "true": len(verdict.supported) / count,
        "false": len(verdict.false) / count,
        "told": len(verdict.recalled) / len(verdict.salient),
    }
    name = f"{seed}/{record.index}"
    reference = _text(story(record))
    case = Case(name, Clip(name, Path(name)), (Posed("?"),), {"reference": reference, "events": []})
    outcome = _drive(part, Told(case, (caption,)), RuleJudge(error, seed * 10_000 + record.index))
    said = {key: top / bottom for key, (top, bottom) in outcome.terms.items()}
    truth = true_claims(record)
    pairs = tuple(
        (parse(event)[0][0] in truth, found == "supported") for event, found in outcome.shown["claims"]
    )
    return Judged(name, exact, said, pairs)


def _drive(part: Any, told: Told, judge_: RuleJudge) -> Outcome:
    steps = part.steps(told, None)
    try:
        question = next(steps)
        while True:
            question = steps.send(parsed(judge_(question), question.shape))
    except StopIteration as done:
        found: Outcome = done.value
        return found


def study(seeds: Sequence[int], clips: int) -> dict[str, Any]:
    """All captions of all models under judges of all errors."""
    part = parts.build("metrics.protocols", {"kind": "claims", "most": 30})
    venue = find_venue("home")
    records = {seed: [one.record for one in play(990 + seed, range(clips), venue)] for seed in seeds}
    found: dict[str, Any] = {"models": {}, "errors": {}}
    for error in ERRORS:
        rows = {
            model.name: [
                judged(model, record, seed, error, part) for seed in seeds for record in records[seed]
            ]
            for model in MODELS
        }
        if error == 0:
            found["models"] = {name: _means(each) for name, each in rows.items()}
        found["errors"][f"{error:g}"] = _agreement(rows, seeds)
    return found


def _means(rows: Sequence[Judged]) -> dict[str, Any]:
    clips = [row.clip for row in rows]
    exact = {key: _plain(mean_interval([row.exact[key] for row in rows], clips)) for key in rows[0].exact}
    wanted = ("precision", "contradicted", "not mentioned", "recall")
    said = {key: _plain(mean_interval([row.said[key] for row in rows], clips)) for key in wanted}
    return {"exact": exact, "said": said}


def _agreement(rows: Mapping[str, Sequence[Judged]], seeds: Sequence[int]) -> dict[str, Any]:
    """How far protocol and log agree: claim by claim, and in the order of models, for each seed."""
    pairs = [pair for each in rows.values() for row in each for pair in row.pairs]
    orders: dict[str, list[float]] = {"precision": [], "contradicted": [], "recall": []}
    for seed in seeds:
        mine = {name: [row for row in each if row.clip.startswith(f"{seed}/")] for name, each in rows.items()}
        for said, exact in (("precision", "true"), ("contradicted", "false"), ("recall", "told")):
            told = [np.mean([row.said[said] for row in each]) for each in mine.values()]
            true = [np.mean([row.exact[exact] for row in each]) for each in mine.values()]
            orders[said].append(spearman(told, true))
    kappas = [cohen_kappa(_of_seed(rows, seed)) for seed in seeds]
    return {
        "claims": len(pairs),
        "agreement": float(np.mean([one == other for one, other in pairs])),
        "kappa": [float(one) if one is not None else None for one in kappas],
        "spearman": orders,
    }


def _of_seed(rows: Mapping[str, Sequence[Judged]], seed: int) -> Iterator[tuple[bool, bool]]:
    for each in rows.values():
        for row in each:
            if row.clip.startswith(f"{seed}/"):
                yield from row.pairs


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Correlation of ranks; what is tied has the mean of its ranks."""
    a, b = (_ranks(np.round(values, 9)) for values in (one, other))
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values], dtype=float)


def _plain(one: Interval) -> list[float]:
    return [round(one.value, 4), round(one.low, 4), round(one.high, 4)]


def tables(found: Mapping[str, Any]) -> str:
    """Both tables of the page."""
    head = (
        "| captions | log: true | false | told | judge: supported | contradicted | not mentioned | recall |"
    )
    lines = [head, "| --- " * 8 + "|"]
    for name, one in found["models"].items():
        exact = [one["exact"][key] for key in ("true", "false", "told")]
        said = [one["said"][key] for key in ("precision", "contradicted", "not mentioned", "recall")]
        lines.append(f"| {name} | {' | '.join(map(_cell, [*exact, *said]))} |")
    lines += [
        "",
        "| judge errs in | claims | agree | κ, by seed | order by supported | contradicted | recall |",
    ]
    lines.append("| --- " * 7 + "|")
    for error, one in found["errors"].items():
        orders = [_spread(one["spearman"][key]) for key in ("precision", "contradicted", "recall")]
        told = [f"{100 * float(error):g} %", str(one["claims"]), f"{100 * one['agreement']:.1f} %"]
        lines.append(f"| {' | '.join([*told, _spread(one['kappa']), *orders])} |")
    return "\n".join(lines)


def _cell(one: Sequence[float]) -> str:
    return f"{100 * one[0]:.1f} ({100 * one[1]:.1f}–{100 * one[2]:.1f})"


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--clips", type=int, default=100)
    given = parser.parse_args()
    began = time.monotonic()
    seeds = [int(one) for one in given.seeds.split(",")]
    found = study(seeds, given.clips)
    told = {"seeds": seeds, "clips": given.clips, **found, "seconds": round(time.monotonic() - began, 1)}
    RESULTS.write_text(json.dumps(told, indent=1) + "\n")
    write_between(PAGE, BEGIN, tables(found), END)
    print(tables(found))


if __name__ == "__main__":
    main()
