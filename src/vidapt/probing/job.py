"""Fact probes of a model by the labels of a data set, from files to a result."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidapt import formats
from vidapt.errors import ConfigError, FormatError
from vidapt.files import check_file, check_folder, exists, write_json
from vidapt.inference.engine import Engine
from vidapt.locks import owned
from vidapt.nouns import Clip, Sample
from vidapt.probing.facts import Fact, question_facts, stated_facts
from vidapt.probing.order import Settings, fewer, is_enough, order_of
from vidapt.probing.probes import MOST
from vidapt.probing.result import Result
from vidapt.probing.seen import Answers, opened, see_all
from vidapt.probing.types import types_of
from vidapt.progress import Reporter, silent
from vidapt.teaching.book import Places
from vidapt.teaching.rows import read_rows


@dataclass(frozen=True)
class _Found:
    """What there is to be probed."""

    facts: Sequence[Fact]
    unsound: Mapping[str, str]
    fingerprint: str


def probe_model(
    opened_model: Callable[[], Engine],
    labels: Sequence[str | Path],
    out: Path,
    settings: Settings | None = None,
    *,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
    report: Reporter = silent,
) -> Result:
    """Probe a model and write the result.

    What is seen of clips is kept in the folder `NAME.features`, answers in `NAME.answers.jsonl`: a job that
    was killed, run again, sees no clip twice but those of its last portion.

    Args:
        opened_model: Opens the model, once all else is known to be as it has to be.
        labels: Label files; where one has provenance beside it, what teachers stated is probed, too.
        out: `NAME.json`.
        settings: How.
        kind: Format of the labels; told from their content if None.
        options: Of the format.
        device: Where attentive probes learn.
        report: Shows progress.

    Raises:
        ConfigError: If settings or labels cannot be used.
        FormatError: If labels are not there, or in no known format.
    """
    chosen = settings or Settings()
    if chosen.folds < 3:
        raise ConfigError("folds", f"{chosen.folds} leave nothing to choose among", "give 3 or more")
    check_file(out)
    folder = out.with_name(f"{out.stem}.features")
    check_folder(folder)
    found = _read(labels, kind, options, chosen)
    with ExitStack() as held:
        held.enter_context(owned(out))
        # Nothing is looked at or asked of what is too little to learn from.
        enough = [fact for fact in found.facts if is_enough(fact, chosen)]
        order = order_of(enough, chosen, report)
        used = [fewer(fact, order, MOST) for fact in enough]
        engine, answers = opened_model(), None
        if chosen.ask:
            answers = held.enter_context(
                Answers(out.with_name(f"{out.stem}.answers.jsonl"), engine.fingerprint)
            )
        sight = opened(engine, folder, chosen.tokens, answers)
        broken = see_all(
            engine,
            sight,
            _questions(used),
            chosen.tokens,
            workers=chosen.workers,
            report=report,
        )
        unread = {
            one.id: reason
            for fact in used
            for one in fact.examples
            if one.clip not in broken and (reason := sight.unread(one.clip, one.question)) is not None
        }
        sound = [one for fact in used if (one := _without(fact, broken, unread)) is not None]
        if not sound:
            raise ConfigError(
                "labels",
                f"the model can read no question; the first: {next(iter(unread.values()))}",
                "give it shorter ones, or probe without its own answers: --no-ask",
            )
        rest = [fact for fact in found.facts if not is_enough(fact, chosen)]
        types = types_of([*sound, *rest], sight, order, chosen, device, report)
        result = Result(
            model=engine.name,
            fingerprint=engine.fingerprint,
            labels=found.fingerprint,
            clips=len(_questions(sound)),
            broken={clip.id: reason for clip, reason in broken.items()},
            unsound=found.unsound,
            unread=unread,
            folds=chosen.folds,
            sessions=order.sessions,
            tokens=chosen.tokens,
            types=types,
        )
        write_json(out, result.to_dict())
    return result


def _read(
    labels: Sequence[str | Path], kind: str | None, options: Mapping[str, Any] | None, settings: Settings
) -> _Found:
    samples: list[Sample] = []
    unsound: dict[str, str] = {}
    facts: list[Fact] = []
    for file in labels:
        for one in formats.each_sample(file, kind, **(options or {})):
            if isinstance(one, FormatError):
                unsound[str(one.where)] = one.found
            else:
                samples.append(one)
        path = Path(file)
        if path.suffix == ".jsonl" and exists(beside := Places.of(path).provenance):
            facts += stated_facts(read_rows(beside))
    samples = formats.single_questions(samples)
    facts = [*question_facts(samples), *facts]
    if not any(is_enough(fact, settings) for fact in facts):
        most = max((len(fact.examples) for fact in facts), default=0)
        raise ConfigError(
            "labels",
            f"nothing with short answers is asked of {settings.least} clips, {settings.others} of them with "
            f"another answer than the most common one; at most of {most}",
            "add labels, or lower --least",
        )
    return _Found(facts, unsound, formats.fingerprint(samples))


def _questions(facts: Sequence[Fact]) -> dict[Clip, list[str]]:
    asked: dict[Clip, list[str]] = defaultdict(list)
    for fact in facts:
        for one in fact.examples:
            of_clip = asked[one.clip]
            if one.question and one.question not in of_clip:
                of_clip.append(one.question)
    return dict(asked)


def _without(fact: Fact, broken: Mapping[Clip, str], unread: Mapping[str, str]) -> Fact | None:
    examples = tuple(one for one in fact.examples if one.clip not in broken and one.id not in unread)
    return replace(fact, examples=examples) if examples else None
