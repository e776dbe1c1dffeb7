"""What was said about a clip, turned into verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from vidapt import formats
from vidapt.curation.ties import sessions
from vidapt.digests import digest
from vidapt.measure.asking import Said, plain
from vidapt.measure.judging import ClaimJudge, marked
from vidapt.measure.verdicts import MAJORITY, MODEL, Header, Verdict
from vidapt.metrics.accuracy import Majority, answer_of, majority
from vidapt.metrics.question_types import QuestionTypes, question_types
from vidapt.nouns import Clip, Sample


@dataclass(frozen=True)
class Bench:
    """Turns what was said into verdicts.

    Attributes:
        types: Of the questions.
        baseline: The most common answers of training labels; None leaves them out.
        judge: Checks the claims of free texts; None where no log tells truth from invention.
        sources: What each clip was taken from; what comes from one is resampled together.
        sources_told: What counts as a source, in words.
    """

    types: QuestionTypes
    baseline: Majority | None
    judge: ClaimJudge | None
    sources: Mapping[Clip, str]
    sources_told: str

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        train_samples: Sequence[Sample] | None,
        judge: ClaimJudge | None,
        by: str | None = None,
    ) -> Bench:
        """The bench of some questions.

        Args:
            samples: One question each.
            train_samples: Training labels the majority answer is learned from; None leaves it out.
            judge: Checks the claims of free texts.
            by: What a source is; see `curation.ties.sessions`.

        Raises:
            ConfigError: If `by` makes no sense.
        """
        types = question_types(samples)
        learned = None if train_samples is None else formats.single_questions(train_samples)
        named, told = sessions(list(dict.fromkeys(sample.media[0] for sample in samples)), by)
        first: dict[str, str] = {}  # a source is called by its first clip, wherever the data lie
        sources = {clip: first.setdefault(name, clip.id) for clip, name in named.items()}
        return cls(types, None if learned is None else majority(learned, types.of), judge, sources, told)

    def header(self, samples: Sequence[Sample], model: str, **about: Any) -> Header:
        """What verdicts on answers to these questions are about.

        Args:
            samples: The questions.
            model: Fingerprint of what answers.
            about: What else is worth knowing.
        """
        return Header(
            stamp={
                "format": 1,
                "model": model,
                "data": formats.fingerprint(samples),
                "majority": None if self.baseline is None else digest(asdict(self.baseline), 16),
                "judged": self.judge is not None,
                "sources": digest(sorted((clip.id, source) for clip, source in self.sources.items()), 16),
            },
            about={
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "sources_are": self.sources_told,
                "grouped": any("type" not in sample.facts for sample in samples),
                **about,
            },
        )

    def verdicts(self, said: Said) -> Iterator[Verdict]:
        """The verdicts on all answers about a clip."""
        for place, (number, sample) in enumerate(said.about.samples):
            predictions = {MODEL: said.model[place]}
            predictions |= {arm: texts[place] for arm, texts in said.controls.items()}
            if self.baseline is not None:
                predictions[MAJORITY] = self.baseline.predict(sample, self.types.of(sample))
            clip, free = said.about.clip, self.types.is_free(sample)
            truth = answer_of(sample, "", self.types.of(sample))
            judge = self.judge if free else None
            yield Verdict(
                number=number,
                sample=sample.id,
                clip=clip,
                type=self.types.of(sample),
                question=plain(sample.question),
                expected=sample.answer,
                accept=truth.accept,
                free=free,
                predictions=predictions,
                claims={} if judge is None else {arm: judge(clip, text) for arm, text in predictions.items()},
                other_from=said.other_from,
                sentences=() if judge is None else marked(judge, clip, predictions[MODEL]),
                stretch=truth.stretch,
                source=self.sources[clip],
            )
