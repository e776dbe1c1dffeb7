"""A model asked with its adapters at several strengths: what it gains in its domain, what it keeps elsewhere.

Source: PLLaVA (Xu et al. 2024, arXiv 2404.16994) answers with a smaller alpha than it trained with. Between 0
and 1 this is WiSE-FT's line (Wortsman et al. 2022, arXiv 2109.01903), of which adapters are the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidapt.digests import digest
from vidapt.errors import BrokenClip, ConfigError
from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.inference.watch import SeenClip
from vidapt.measure.evaluate import evaluate, world_judge
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.gains import gained, per_question
from vidapt.measure.sections import ends_of, percent_of, points
from vidapt.metrics.intervals import Interval, mean_interval
from vidapt.models.adapters import at_scale, refuse_no_adapters
from vidapt.models.generate import Answer, Decoding
from vidapt.nouns import Clip
from vidapt.progress import Reporter, silent

SCALES = "scales.json"
DOMAIN, GENERAL = "in_domain", "general"
RULE = "the highest sum of the sets' scores; of equal ones the smallest scale, which forgets least"
KEPT_GB = 1.0
"""Visual tokens kept for the next scale; clips beyond that are seen again."""


@dataclass(frozen=True)
class Score:
    """A set's score at one scale.

    Attributes:
        value: Share of right answers, or of words as in the reference (ROUGE-L) where no answer can be right.
        gain: Against the smallest scale, question by question.
    """

    value: Interval
    gain: Interval


@dataclass(frozen=True)
class Scaled:
    """What was found.

    Attributes:
        model: Name of the model.
        kind: What is scored: accuracy, or overlap.
        sizes: Questions and clips of each set.
        found: By scale, and by set.
    """

    model: str
    kind: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int]]
    found: Mapping[float, Mapping[str, Score]]

    @property
    def best(self) -> float:
        """The scale that is best by `RULE`."""
        return max(sorted(self.found), key=lambda s: sum(one.value.value for one in self.found[s].values()))

    def reason(self) -> str:
        """Why that one."""
        first, chosen = min(self.found), self.found[self.best]
        if self.best == first:
            return f"scale {self.best:g} is best: no larger one has a higher sum over {', '.join(self.sizes)}"
        told = [f"{name} {100 * one.gain.value:+.1f} points" for name, one in chosen.items()]
        return f"scale {self.best:g} is best: {', '.join(told)} against scale {first:g}"

    def rows(self) -> list[list[str]]:
        """Scale, set, score, its interval, and the gain against the smallest scale."""
        return [
            [
                f"{scale:g}",
                name.replace("_", " "),
                percent_of(one.value),
                ends_of(one.value),
                points(one.gain),
            ]
            for scale, by_set in self.found.items()
            for name, one in by_set.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "model": self.model,
            "sets": {
                n: {"questions": q, "clips": c, "score": self.kind[n]} for n, (q, c) in self.sizes.items()
            },
            "scales": [
                {"scale": scale, **{name: asdict(one) for name, one in by_set.items()}}
                for scale, by_set in self.found.items()
            ],
            "best": {"scale": self.best, "rule": RULE, "reason": self.reason()},
        }


class ScaledEngine:
    """An engine whose adapters are at one scale whenever it looks or answers; see `measure.asking.Asked`.

    Args:
        engine: With adapters.
        scale: Of them.
        kept: What it saw at other scales, where that is the same.
    """

    def __init__(self, engine: Engine, scale: float, kept: KeptTokens | None) -> None:
        self._engine, self._scale, self._kept = engine, scale, kept
        self.name, self.card = f"{engine.name} x {scale:g}", engine.card
        self.clip_tokens, self.text_tokens, self.text = engine.clip_tokens, engine.text_tokens, engine.text

    @property
    def fingerprint(self) -> str:
        """Hash of everything an answer depends on, the scale among it."""
        return digest([self._engine.fingerprint, self._scale], 24)

    def watch_batches(
        self, batches: Iterable[Sequence[Clip]], *, workers: int, beside: int, changes: Sequence[str] = ()
    ) -> Iterator[list[SeenClip | BrokenClip]]:
        """See clips, or take what was seen of them at another scale."""
        if self._kept is not None and not changes:
            yield from self._kept.watch(self._engine, batches, workers, beside)
            return
        with at_scale(self._engine.model, self._scale):
            yield from self._engine.watch_batches(batches, workers=workers, beside=beside, changes=changes)

    def answer(
        self, asked: Sequence[tuple[Sequence[SeenClip], Sequence[str]]], decoding: Decoding
    ) -> list[list[Answer]]:
        """Answer questions about clips already seen."""
        with at_scale(self._engine.model, self._scale):
            return self._engine.answer(asked, decoding)


class KeptTokens:
    """What was seen of clips, kept in memory batch by batch as far as there is room."""

    def __init__(self, gigabytes: float = KEPT_GB) -> None:
        self._room = gigabytes * 1e9
        self._seen: dict[tuple[Clip, ...], list[SeenClip | BrokenClip]] = {}

    def watch(
        self, engine: Engine, batches: Iterable[Sequence[Clip]], workers: int, beside: int
    ) -> Iterator[list[SeenClip | BrokenClip]]:
        """See batches in order; those that were kept are not decoded again."""
        listed = [tuple(batch) for batch in batches]
        new = [batch for batch in listed if batch not in self._seen]
        with closing(engine.watch_batches(new, workers=workers, beside=beside)) as watched:
            for batch in listed:
                yield self._seen[batch] if batch in self._seen else self._keep(batch, next(watched))

    def _keep(
        self, batch: tuple[Clip, ...], seen: list[SeenClip | BrokenClip]
    ) -> list[SeenClip | BrokenClip]:
        size = sum(one.tokens.nbytes for one in seen if isinstance(one, SeenClip))
        if size <= self._room:
            self._room -= size
            self._seen[batch] = seen
        return seen


def sweep_scales(
    model: str | Path,
    data: Path,
    out: Path,
    scales: Sequence[float],
    *,
    general: Path | None = None,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    device: str = "cpu",
    max_tokens: int = 128,
    report: Reporter = silent,
) -> Scaled:
    """Evaluate a model with its adapters at several scales.

    Each scale has an evaluation of its own in `out/SET/scale-X`, which a killed sweep goes on with. Where
    only the language model has adapters, a clip is seen once for all of them.

    Args:
        model: See `inference.load.load`; it must have adapters.
        data: Questions of the domain.
        out: Folder.
        scales: 0 is the model without its adapters, 1 as it was trained.
        general: Questions about what should not be forgotten.
        kind: Format of the labels.
        options: Options of the format of `data`, such as `media_root`.
        workers: Decoding processes; None is one per core.
        device: Where the model runs.
        max_tokens: Longest answer.
        report: Shows progress.

    Raises:
        ConfigError: If there are no adapters, or no scales.
        VidaptError: See `evaluate`.
    """
    chosen = checked_scales(scales)
    sets = {DOMAIN: data, **({GENERAL: general} if general is not None else {})}
    given = {DOMAIN: dict(options or {})}
    samples = {name: list(open_samples(path, kind, **given.get(name, {}))) for name, path in sets.items()}
    engine = load(model, device=device)
    refuse_no_adapters(engine.model, model)
    decoding = Decoding(max_new_tokens=max_tokens)
    evaluations: dict[str, dict[float, Evaluation]] = {}
    for name, path in sets.items():
        kept = KeptTokens() if engine.model.blueprint.tower_adapters is None else None
        evaluations[name] = {
            scale: evaluate(
                ScaledEngine(engine, scale, kept),
                samples[name],
                out=out / name / f"scale-{scale:g}",
                decoding=decoding,
                controls=(),
                workers=workers,
                judge=world_judge(path if path.is_dir() else path.parent),
                report=report,
            )
            for scale in chosen
        }
    found = scaled(engine.name, evaluations)
    write_json(out / SCALES, found.to_dict())
    return found


def checked_scales(scales: Sequence[float]) -> list[float]:
    """Scales in order, each once.

    Raises:
        ConfigError: If there is none, or one cannot be taken.
    """
    if not scales:
        raise ConfigError("--lora-scale", "names no scale", "such as 0,0.125,0.25,0.5,1")
    for scale in scales:
        if not 0 <= scale <= 10:
            raise ConfigError("--lora-scale", f"{scale} is not from 0 to 10", "1 is as it was trained")
    return sorted(set(scales))


def scaled(model: str, evaluations: Mapping[str, Mapping[float, Evaluation]]) -> Scaled:
    """Scores of evaluations by set and scale."""
    scores = {
        name: {s: per_question(e) for s, e in by_scale.items()} for name, by_scale in evaluations.items()
    }
    every = {name: next(iter(by_scale.values())) for name, by_scale in evaluations.items()}
    found: dict[float, dict[str, Score]] = {}
    for name, by_scale in scores.items():
        first = by_scale[min(by_scale)]
        for scale, one in by_scale.items():
            score = Score(mean_interval(one.values, one.clips), gained(first, one))
            found.setdefault(scale, {})[name] = score
    return Scaled(
        model,
        {name: per_question(one).kind for name, one in every.items()},
        {name: (len(one.verdicts), one.clips) for name, one in every.items()},
        dict(sorted(found.items())),
    )
