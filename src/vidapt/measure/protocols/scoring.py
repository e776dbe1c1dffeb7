"""Likelihoods of options and statements, for protocols that compare them; each is kept as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from vidapt.appended import Appended
from vidapt.digests import digest
from vidapt.errors import BrokenClip, ConfigError
from vidapt.inference.matchers import LanguageMatcher, open_matcher
from vidapt.measure.asking import visiting_order
from vidapt.measure.command import Asking
from vidapt.measure.verdicts import BLIND, MODEL, OTHER_CLIP
from vidapt.metrics.cases import Case, Posed, Told
from vidapt.nouns import Clip

SCORES = "scores.jsonl"
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Scores:
    """What a model gave to options.

    Attributes:
        arms: By arm, by the id of a case, scores of the options of each of its questions.
    """

    arms: Mapping[str, Mapping[str, Rows]]

    def told(self, cases: Sequence[Case]) -> Iterator[tuple[str, list[Told]]]:
        """By arm, the cases that were scored."""
        for arm, found in self.arms.items():
            yield arm, [Told(case, (), found[case.id]) for case in cases if case.id in found]


def score_cases(model: str | Path, cases: Sequence[Case], asking: Asking, out: Path) -> Scores:
    """Score the options of cases.

    Clips are seen in an order in which neighbours are far apart, and the control with another clip takes the
    next one; see `measure.asking.visiting_order`. Scores are kept as they come, so that a killed job goes on.

    Args:
        model: A video-language model or a dual encoder; the latter scores statements alone.
        cases: Whose questions all have options.
        asking: Controls, device and workers.
        out: Folder of the evaluation; made if missing.

    Raises:
        ConfigError: If the model cannot score these options, or no clip can be used.
    """
    matcher = open_matcher(model, device=asking.device)
    if not isinstance(matcher, LanguageMatcher) and any(
        one.by == "answer" for case in cases for one in case.posed
    ):
        raise ConfigError(
            model, "is a dual encoder, which gives no answer a likelihood", "give a language model"
        )
    out.mkdir(parents=True, exist_ok=True)
    with closing(_Kept(out / SCORES, _identity(matcher))) as kept:
        scorer = _Scorer(matcher, kept, asking)
        scorer.run(cases)
    if not scorer.arms[MODEL]:
        raise ConfigError("data", f"no clip can be used: {scorer.broken}", "check the clips")
    return Scores(scorer.arms)


class _Kept(Appended):
    """Scores on disk: a key of model, clip and options, and the numbers."""

    def __init__(self, path: Path, model: str) -> None:
        super().__init__(path)
        self._model = model
        self._found: dict[str, list[float]] = {}
        for _, line in self.lines():
            if isinstance(line, dict) and isinstance(line.get("scores"), list):
                self._found[str(line.get("key"))] = [float(one) for one in line["scores"]]

    def key(self, clip: Clip | None, posed: Posed) -> str:
        """Of one question about a clip, or about none."""
        seen = None if clip is None else [str(clip.path), clip.start_s, clip.end_s, clip.rate]
        return digest([self._model, seen, posed.text, list(posed.options), posed.by], 32)

    def get(self, clip: Clip | None, posed: Posed) -> tuple[float, ...] | None:
        found = self._found.get(self.key(clip, posed))
        return None if found is None else tuple(found)

    def keep(self, clip: Clip | None, posed: Posed, scores: Sequence[float]) -> None:
        key = self.key(clip, posed)
        self.write({"key": key, "scores": list(scores)})
        self._found[key] = list(scores)


class _Scorer:
    """Goes through the clips."""

    def __init__(self, matcher: Any, kept: _Kept, asking: Asking) -> None:
        self._matcher, self._kept, self._asking = matcher, kept, asking
        language = isinstance(matcher, LanguageMatcher)
        controls = [arm for arm in asking.controls if arm == OTHER_CLIP or (arm == BLIND and language)]
        self.arms: dict[str, dict[str, Rows]] = {arm: {} for arm in (MODEL, *controls)}
        self.broken = ""

    def run(self, cases: Sequence[Case]) -> None:
        """Score everything; a clip that cannot be used costs its own cases."""
        groups: dict[Clip, list[Case]] = {}
        for case in cases:
            groups.setdefault(case.clip, []).append(case)
        clips = list(groups)
        order = [clips[place] for place in visiting_order(len(clips))]
        pairs = list(zip(order, [*order[1:], order[0]], strict=True))
        wanted = [clip for clip in order if not self._known(clip, groups, pairs)]
        workers = self._asking.workers if self._asking.workers is not None else 0
        stream = self._matcher.watch(wanted, workers)
        for done, (clip, seen) in enumerate(zip(wanted, stream, strict=True), 1):
            if isinstance(seen, BrokenClip):
                self.broken = seen.reason
            else:
                before = next(one for one, following in pairs if following == clip)
                for case in groups[clip]:
                    self._score(seen, clip, case)
                if OTHER_CLIP in self.arms and before != clip:
                    for case in groups[before]:
                        self._score(seen, clip, case)
            self._asking.report(f"{self._matcher.name}: options", done, len(wanted))
        if BLIND in self.arms:
            for case in cases:
                self._score(None, None, case)
        self._collect(groups, pairs)

    def _known(
        self, clip: Clip, groups: Mapping[Clip, list[Case]], pairs: Sequence[tuple[Clip, Clip]]
    ) -> bool:
        """Whether all that a clip is seen for is kept already."""
        cases = list(groups[clip])
        if OTHER_CLIP in self.arms:
            cases += [case for one, following in pairs if following == clip != one for case in groups[one]]
        return all(self._kept.get(clip, posed) is not None for case in cases for posed in case.posed)

    def _score(self, seen: Any, clip: Clip | None, case: Case) -> None:
        for posed in case.posed:
            if self._kept.get(clip, posed) is None:
                self._kept.keep(clip, posed, self._scores(seen, posed))

    def _scores(self, seen: Any, posed: Posed) -> list[float]:
        if posed.by == "statement":
            return cast("list[float]", self._matcher.scores(seen, posed.options))
        asked = [(posed.text, option) for option in posed.options]
        return cast("list[float]", self._matcher.likelihoods(seen, asked))

    def _collect(self, groups: Mapping[Clip, list[Case]], pairs: Sequence[tuple[Clip, Clip]]) -> None:
        """What is kept of each arm; cases of which something is missing are left out of all."""
        for clip, following in pairs:
            sees = {MODEL: clip, BLIND: None, OTHER_CLIP: following if following != clip else None}
            for case in groups[clip]:
                rows = {arm: [self._kept.get(sees[arm], posed) for posed in case.posed] for arm in self.arms}
                if any(one is None for one in rows[MODEL]):
                    continue
                for arm, found in rows.items():
                    whole = tuple(one for one in found if one is not None)
                    if len(whole) == len(found) and (arm != OTHER_CLIP or following != clip):
                        self.arms[arm][case.id] = whole


def _identity(matcher: Any) -> str:
    if isinstance(matcher, LanguageMatcher):
        return matcher.engine.fingerprint
    from vidapt.models.fingerprint import WeightsAnywhere, weights_fingerprint

    return weights_fingerprint(WeightsAnywhere(matcher.model))
