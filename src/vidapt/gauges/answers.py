"""What a model that answers holds to be likely: with the clip, with another one, and without any.

Gauges, over questions whose answers have rivals (`gauges.rivals`):

- evidence: [NLL(without) - NLL(clip)] / NLL(without) of the tokens in which answer and rival differ: what
  share of its doubt about facts looking takes from the model. With another clip in the clip's place it
  should be near zero or below, else the model answers from what all clips are like.
- told apart: share of questions whose answer is likelier than its rival, a token on average.
- chosen: mean log-probability of the answers' tokens. Where a preference is learned it may fall while answers
  and rivals are told apart ever better, which is no success (Razin et al. 2024, arXiv 2410.08847).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.nouns import Sample

_TOGETHER = 16
"""Questions behind one clip at a time, each with its rival."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a model holds of one question. Sums of log-probabilities are of the tokens that tell the fact.

    Attributes:
        sample: Id of the question.
        clip: Sum with the clip; None for a question without clips.
        other: Sum with another clip; None where there is none.
        without: Sum without any.
        facts: How many tokens that is.
        true: Mean log-probability of all tokens of the answer.
        false: The same of its rival.
    """

    sample: str
    clip: float | None
    other: float | None
    without: float
    facts: int
    true: float
    false: float


@dataclass(frozen=True)
class AnswerGauges:
    """Gauges of a set.

    Attributes:
        questions: How many had a rival.
        evidence: With the clip; None where no question is about a clip.
        evidence_other_clip: The same with another clip.
        told_apart: Share of questions.
        chosen: Mean log-probability of an answer's token.
    """

    questions: int
    evidence: float | None
    evidence_other_clip: float | None
    told_apart: float
    chosen: float

    def to_dict(self) -> dict[str, float]:
        """What is known, as the log holds it."""
        told = {
            "evidence": self.evidence,
            "evidence_other_clip": self.evidence_other_clip,
            "told_apart": self.told_apart,
            "chosen": self.chosen,
        }
        return {name: value for name, value in told.items() if value is not None}


def gauges_of(held: Iterable[Held]) -> AnswerGauges | None:
    """Add questions up; None without any."""
    held = list(held)
    if not held:
        return None
    return AnswerGauges(
        len(held),
        _evidence([(one.clip, one.without) for one in held]),
        _evidence([(one.other, one.without) for one in held]),
        sum((one.true > one.false) + (one.true == one.false) / 2 for one in held) / len(held),
        sum(one.true for one in held) / len(held),
    )


def _evidence(pairs: Sequence[tuple[float | None, float]]) -> float | None:
    known = [(sight, without) for sight, without in pairs if sight is not None]
    blind = -sum(without for _, without in known)
    return (blind + sum(sight for sight, _ in known)) / blind if known and blind > 0 else None


class Holding:
    """Asks a model what it holds.

    Args:
        engine: The model.
        rivals: By the id of a question.
    """

    def __init__(self, engine: Engine, rivals: Mapping[str, str]) -> None:
        self._engine, self._rivals = engine, rivals

    def of(
        self, samples: Sequence[Sample], seen: Sequence[SeenClip], other: Sequence[SeenClip] | None
    ) -> list[Held]:
        """What it holds of questions about the same clips.

        Args:
            samples: The questions; those without a rival are passed over.
            seen: Their clips.
            other: As many of another conversation; None where there is none.
        """
        posed = [sample for sample in samples if sample.id in self._rivals]
        found = []
        for start in range(0, len(posed), _TOGETHER):
            found += self._some(posed[start : start + _TOGETHER], seen, other)
        return found

    def _some(
        self, posed: Sequence[Sample], seen: Sequence[SeenClip], other: Sequence[SeenClip] | None
    ) -> list[Held]:
        pairs = [(one.question, text) for one in posed for text in (one.answer, self._rivals[one.id])]
        true = [(one.question, one.answer) for one in posed]
        both = self._logs(seen, pairs)
        without = self._logs((), true) if seen else both[::2]
        elsewhere = self._logs(other, true) if other is not None and len(other) == len(seen) else None
        held = []
        for number, sample in enumerate(posed):
            (ids, logs), (rival_ids, rival_logs) = both[2 * number], both[2 * number + 1]
            facts = differing(ids, rival_ids)
            held.append(
                Held(
                    sample.id,
                    _sum(logs, facts) if seen else None,
                    None if elsewhere is None or not seen else _sum(elsewhere[number][1], facts),
                    _sum(without[number][1], facts),
                    len(facts),
                    _mean(logs),
                    _mean(rival_logs),
                )
            )
        return held

    @torch.inference_mode()
    def _logs(
        self, seen: Sequence[SeenClip], answered: Sequence[tuple[str, str]]
    ) -> list[tuple[list[int], list[float]]]:
        """Of each answer its tokens, and their log-probabilities."""
        packed, logits = self._engine.answered(seen, answered)
        logs = logits.float().log_softmax(-1).gather(1, packed.labels[:, None]).squeeze(1).double().tolist()
        found: list[tuple[list[int], list[float]]] = [([], []) for _ in answered]
        for owner, token, log in zip(packed.sample.tolist(), packed.labels.tolist(), logs, strict=True):
            found[owner][0].append(token)
            found[owner][1].append(log)
        return found


def differing(ids: Sequence[int], other: Sequence[int]) -> range:
    """Places of the first that lie between what both begin with and what both end with; at least one.

    >>> differing([5, 7, 8, 2], [5, 9, 8, 2]), differing([1, 2], [1, 2, 2])
    (range(1, 2), range(1, 2))
    """
    least = min(len(ids), len(other))
    front = next((at for at in range(least) if ids[at] != other[at]), least)
    back = next((at for at in range(least - front) if ids[-1 - at] != other[-1 - at]), least - front)
    end = max(len(ids) - back, 0)
    # One text may hold all of the other: then the place where it goes on is what tells them apart.
    return range(front, end) if front < end else range(min(front, len(ids) - 1), min(front, len(ids) - 1) + 1)


def _sum(logs: Sequence[float], places: range) -> float:
    return sum(logs[at] for at in places)


def _mean(logs: Sequence[float]) -> float:
    return sum(logs) / len(logs)
