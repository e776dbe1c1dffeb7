"""One model probed, in a process of its own: what it takes is then its own, and so is its end."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vidapt.errors import BrokenClip, ConfigError, FormatError, VidaptError
from vidapt.files import write_json
from vidapt.formats import open_samples, single_questions
from vidapt.inference.engine import CAPTION_PROMPT
from vidapt.inference.match_set import match_set
from vidapt.inference.matchers import By, DualMatcher, LanguageMatcher, open_matcher
from vidapt.labelling.cases import EVENTS, Case, read_cases
from vidapt.measure.asking import about_one_clip
from vidapt.measure.evaluate import evaluate, world_judge
from vidapt.measure.shortlist.found import Answered, Compared, Probe
from vidapt.measure.verdicts import BLIND, MODEL
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip, Sample
from vidapt.parts import import_modules

RETRIEVED = 16
"""Clips that captions are found among; every one is held against all."""

CAPTIONED, CAPTION_TOKENS = 4, 96
FALSE_COPIES = 2


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is probed.

    Attributes:
        model: A model's name or path.
        data: Labels.
        out: Folder of this model.
        kind: Format of the labels; None tells it from their content.
        media_root: Where clips lie; None is beside the labels.
        clips: Most clips.
        questions: Most questions.
        max_tokens: Longest answer.
        workers: Decoding processes; None is one per core.
        device: Where the model runs.
        trusted: Modules that models may name.
    """

    model: str
    data: str
    out: str
    kind: str | None = None
    media_root: str | None = None
    clips: int = 32
    questions: int = 128
    max_tokens: int = 32
    workers: int | None = None
    device: str = "cpu"
    trusted: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """Of the format."""
        return {} if self.media_root is None else {"media_root": Path(self.media_root)}

    @property
    def _told(self) -> Path:
        """Where statements come from: the log of a simulated world, if the labels lie beside one."""
        labels = Path(self.data)
        return labels.parent if (labels.parent / EVENTS).is_file() else labels

    def samples(self) -> list[Sample]:
        """Questions about the first clips, as many of each as there is room for."""
        every = list(open_samples(Path(self.data), self.kind, **self.options))
        every = about_one_clip(single_questions(every))
        by_clip: dict[Clip, list[Sample]] = {}
        for sample in every:
            by_clip.setdefault(sample.media[0], []).append(sample)
        clips = spread(list(by_clip), self.clips)
        each = max(1, self.questions // len(clips))
        return [sample for clip in clips for sample in spread(by_clip[clip], each)]

    def cases(self, samples: Sequence[Sample]) -> list[Case]:
        """Statements about the same clips; false ones are made by rule, or from a world's log."""
        clips = {(one.media[0].path, one.media[0].start_s) for one in samples}
        try:
            found = read_cases(self._told, self.kind, by_rule=FALSE_COPIES, options=self.options)
        except (FormatError, ConfigError):
            return []
        return [one for one in found if (one.clip.path, one.clip.start_s) in clips]


def spread(rows: Sequence[Any], most: int) -> list[Any]:
    """At most so many, evenly spread."""
    if len(rows) <= most:
        return list(rows)
    return [rows[at * len(rows) // most] for at in range(most)]


def probe(wanted: Wanted) -> Probe:
    """Probe a model.

    Raises:
        VidaptError: If it cannot be opened, or no clip can be used.
    """
    began = time.monotonic()
    matcher = open_matcher(wanted.model, By.said, wanted.device)
    load_s = time.monotonic() - began
    samples = wanted.samples()
    clips = list(dict.fromkeys(sample.media[0] for sample in samples))
    why_not: list[str] = []
    language = matcher if isinstance(matcher, LanguageMatcher) else None
    clip_s, answer_s, captions = _timed(matcher, spread(clips, CAPTIONED), wanted)
    answered = None if language is None else _answered(language, samples, wanted, why_not)
    compared = _compared(matcher, wanted.cases(samples), wanted, why_not)
    model = matcher.model if isinstance(matcher, DualMatcher) else matcher.engine.model
    return Probe(
        model=wanted.model,
        kind="dual" if language is None else "language",
        parameters=sum(one.numel() for one in model.parameters()),
        load_s=round(load_s, 3),
        peak_gb=round(_peak_gb(wanted.device), 3),
        clip_s=clip_s,
        answer_s=answer_s,
        tokens=None if language is None else language.engine.clip_tokens,
        answered=answered,
        compared=compared,
        captions=captions,
        why_not=tuple(why_not),
    )


def _timed(
    matcher: LanguageMatcher | DualMatcher, clips: Sequence[Clip], wanted: Wanted
) -> tuple[float, float | None, dict[str, str]]:
    """Seconds to see a clip and to answer a question, and captions; the first clip only warms up."""
    list(matcher.watch(clips[:1], 0))
    began = time.monotonic()
    seen: list[Any] = [one for one in matcher.watch(clips, 0) if not isinstance(one, BrokenClip)]
    clip_s = (time.monotonic() - began) / max(1, len(clips))
    if not seen:
        raise VidaptError(wanted.data, "none of the first clips can be used", "see `vidapt data check`")
    if isinstance(matcher, DualMatcher):
        return round(clip_s, 4), None, {}
    engine, began = matcher.engine, time.monotonic()
    asked = [((one,), (CAPTION_PROMPT,)) for one in seen]
    answers = engine.answer(asked, Decoding(max_new_tokens=CAPTION_TOKENS))
    answer_s = (time.monotonic() - began) / len(seen)
    captions = {one.clip.id: engine.text(row[0]) for one, row in zip(seen, answers, strict=True)}
    return round(clip_s, 4), round(answer_s, 4), captions


def _answered(
    matcher: LanguageMatcher, samples: Sequence[Sample], wanted: Wanted, why_not: list[str]
) -> Answered | None:
    """Answers to short questions; the evaluation stays in the folder, so that models can be compared."""
    data = Path(wanted.data)
    found = evaluate(
        matcher.engine,
        samples,
        out=Path(wanted.out) / "evaluation",
        decoding=Decoding(max_new_tokens=wanted.max_tokens),
        controls=("blind",),
        workers=wanted.workers,
        judge=world_judge(data if data.is_dir() else data.parent),
        overwrite=True,
    )
    accuracy = found.arms[MODEL].accuracy
    blind = found.arms[BLIND].accuracy
    if accuracy is None or blind is None:
        why_not.append("no question has a short answer")
        return None
    return Answered(accuracy.n, accuracy.macro, blind.macro)


def _compared(
    matcher: LanguageMatcher | DualMatcher, cases: Sequence[Case], wanted: Wanted, why_not: list[str]
) -> Compared | None:
    if not cases:
        why_not.append("there are no captions or statements")
        return None
    found = match_set(matcher, cases, workers=wanted.workers)
    first = set(spread(list(dict.fromkeys(one.clip for one in cases if one.true)), RETRIEVED))
    few = [dataclasses.replace(one, false=()) for one in cases if one.clip in first and one.true]
    way = match_set(matcher, few, with_retrieval=True, workers=wanted.workers) if len(first) > 1 else None
    retrieval = None if way is None else way.retrieval
    told = found.all
    if told is None:
        why_not.append("no false copy of a statement could be made by rule")
    return Compared(
        pairs=0 if told is None else told.pairs,
        wins=None if told is None else told.wins,
        found=None if retrieval is None else (retrieval.to_text.recall[1] + retrieval.to_video.recall[1]) / 2,
        among=len(first),
    )


def _peak_gb(device: str) -> float:
    if device != "cpu" and torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated()) / 1e9
    import resource  # there is none on Windows

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size * (1 if sys.platform == "darwin" else 1024) / 1e9


def main(request: Path, result: Path) -> None:
    """Probe what a file asks for, and write what was found, or why nothing was."""
    wanted = Wanted(**json.loads(request.read_text(encoding="utf-8")))
    import_modules(wanted.trusted)
    try:
        write_json(result, probe(wanted).to_json())
    except VidaptError as error:
        where = "" if str(error.where) == wanted.model else f"{error.where}: "
        write_json(result, {"failed": f"{where}{error.found}"})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
