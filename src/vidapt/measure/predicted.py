"""Answers that were given elsewhere, measured as a model's own are: the same questions, the same rules."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidapt import formats
from vidapt.digests import digest
from vidapt.errors import ConfigError, FormatError
from vidapt.files import write_json
from vidapt.measure.asking import ClipQuestions, Said, about_one_clip, by_clip
from vidapt.measure.bench import Bench
from vidapt.measure.evaluation import Evaluation, read_evaluation
from vidapt.measure.judging import ClaimJudge
from vidapt.measure.verdicts import CONTROL_ARMS, METRICS, MODEL, Kept, check_stamp, open_ledger, read_kept
from vidapt.nouns import Sample
from vidapt.version import VERSION

IDS, TEXTS = ("id", "sample", "question_id"), ("prediction", "answer", "text", "pred", "response")
"""Keys under which files name a question, and say what was answered; the first that a row has counts."""

SUFFIXES = frozenset({".jsonl", ".json"})

_TOGETHER = 500
"""Clips whose verdicts are written together."""


@dataclass(frozen=True)
class Predictions:
    """What a file answers.

    Attributes:
        path: The file.
        answers: By the id of a question.
        controls: By control, the same; only what `vidapt eval` wrote has any.
    """

    path: Path
    answers: Mapping[str, str]
    controls: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def is_predictions(name: str | Path) -> bool:
    """Whether a name is that of a file of answers, and not of a model."""
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_predictions(path: Path) -> Predictions:
    """Read answers: JSON lines or a JSON list of rows with an id and a text, or what `vidapt eval` wrote.

    Raises:
        FormatError: Naming the row that cannot be read, or that answers a question for the second time.
    """
    answers: dict[str, str] = {}
    controls: dict[str, dict[str, str]] = {}
    for where, row in _rows(path):
        if not isinstance(row, dict):
            raise FormatError(where, "is no row of answers", "give an object with an id and an answer")
        if "stamp" in row:
            continue  # the first line of an evaluation's own file
        name = next((row[key] for key in IDS if key in row), None)
        text = _text(row)
        if not isinstance(name, str | int) or text is None:
            keys = f"one of {', '.join(IDS)} and one of {', '.join(TEXTS)}"
            raise FormatError(where, "has no id and answer", f"write them under {keys}")
        if str(name) in answers:
            raise FormatError(where, f"answers {name!r} for the second time", "keep one of them")
        answers[str(name)] = text
        for arm in CONTROL_ARMS:
            if isinstance(row.get("predictions"), dict) and isinstance(row["predictions"].get(arm), str):
                controls.setdefault(arm, {})[str(name)] = row["predictions"][arm]
    # A control that some questions lack compares nothing.
    whole = {arm: found for arm, found in controls.items() if found.keys() == answers.keys()}
    return Predictions(path, answers, whole)


def evaluate_predictions(
    given: Predictions,
    samples: Sequence[Sample],
    *,
    name: str,
    out: Path,
    train_samples: Sequence[Sample] | None = None,
    judge: ClaimJudge | None = None,
    by: str | None = None,
) -> Evaluation:
    """Measure answers. A question without one counts as wrongly answered, and is told.

    Args:
        given: The answers.
        samples: Questions about one clip each, with the truth.
        name: What to call them.
        out: Folder of the evaluation; made if missing.
        train_samples: Training labels the majority answer is learned from; None leaves it out.
        judge: Checks the claims of free texts.
        by: What clips are taken from, as for `evaluate`.

    Raises:
        ConfigError: If none of the questions is answered, or the folder holds verdicts of something else.
    """
    samples = about_one_clip(formats.single_questions(samples))
    answered = sum(sample.id in given.answers for sample in samples)
    if not answered:
        told = ", ".join(map(repr, list(given.answers)[:3])) or "nothing"
        raise ConfigError(
            given.path,
            f"answers none of these questions: it has {told}, the data {samples[0].id!r}, ...",
            "give answers to the same label file, under its ids",
        )
    bench = Bench.of(samples, train_samples, judge, by)
    header = bench.header(
        samples,
        digest([dict(given.answers), {arm: dict(found) for arm, found in given.controls.items()}], 16)
        if given.controls
        else digest(dict(given.answers), 16),
        name=name,
        versions={"vidapt": VERSION},
        predictions=str(given.path),
        unanswered=len(samples) - answered,
        strangers=len(given.answers) - answered,
    )
    kept = read_kept(out)
    if kept is not None:
        check_stamp(out, kept, header)
        header = kept.header  # begun when it was begun
    with open_ledger(out, Kept(header, (), ())) as ledger:
        groups = by_clip(samples)
        for start in range(0, len(groups), _TOGETHER):  # each time the disk is waited for
            some = groups[start : start + _TOGETHER]
            ledger.add(one for group in some for one in bench.verdicts(_said(given, group)))
    evaluation = read_evaluation(out)
    write_json(out / METRICS, evaluation.to_dict())
    return evaluation


def _said(given: Predictions, group: ClipQuestions) -> Said:
    """What a file answers about a clip; nothing where it says nothing."""
    names = [sample.id for _, sample in group.samples]
    controls = {arm: tuple(found.get(name, "") for name in names) for arm, found in given.controls.items()}
    return Said(group, tuple(given.answers.get(name, "") for name in names), controls)


def _text(row: Mapping[str, Any]) -> str | None:
    """What a row answers; an answer of nothing is an empty one."""
    if isinstance(row.get("predictions"), dict):
        row = {TEXTS[0]: row["predictions"].get(MODEL)}
    for key in TEXTS:
        if key in row:
            value = row[key]
            return "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return None


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Each row with its place."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FormatError(path, f"is no JSON: {error}") from error
        yield from ((f"{path}[{number}]", row) for number, row in enumerate(rows))
        return
    # Not `splitlines`: JSON may hold the line ends of Unicode as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}:{number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                raise FormatError(f"{path}:{number}", f"is no JSON: {error}") from error
