"""A model asked at several settings: what each gains in its domain, and what is kept elsewhere.

Adapters at a fraction of their strength: PLLaVA (Xu et al. 2024, arXiv 2404.16994) answers with a smaller
alpha than it trained with. Between 0 and 1 this is WiSE-FT's line (Wortsman et al. 2022, arXiv 2109.01903),
of which adapters are the difference. Fewer frames, smaller pictures, or tokens left out where nothing moves
say what a model needs of a clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError
from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.measure.asking import Asked
from vidapt.measure.evaluate import evaluate, world_judge
from vidapt.measure.evaluation import Evaluation
from vidapt.measure.gains import PerQuestion, gained, per_question
from vidapt.measure.sections import ends_of, percent_of, points
from vidapt.measure.varied import KeptTokens, ScaledEngine, with_frames, with_keep, with_side
from vidapt.metrics.intervals import Interval, mean_interval
from vidapt.models.adapters import refuse_no_adapters
from vidapt.models.decoding import Decoding
from vidapt.progress import Reporter, silent

SWEEP = "sweep.json"
DOMAIN, GENERAL = "in_domain", "general"
BEST = "the highest sum of the sets' scores; of equal ones the smallest"
ENOUGH = "the smallest of which no set's score is distinguishably below that of the best"


@dataclass(frozen=True)
class Axis:
    """What is varied.

    Attributes:
        name: Of the option, and in results.
        words: For people.
        least: Smallest value.
        most: Largest value.
        whole: Whether only whole numbers make sense.
        example: What one would write.
    """

    name: str
    words: str
    least: float
    most: float
    whole: bool
    example: str

    def values(self, given: Sequence[float]) -> list[float]:
        """Values in order, each once.

        Raises:
            ConfigError: If there is none, or one cannot be taken.
        """
        where = f"--sweep {self.name}"
        if not given:
            raise ConfigError(where, "names no value", f"such as {self.example}")
        for value in given:
            if not self.least <= value <= self.most or (self.whole and value != int(value)):
                kind = "a whole number" if self.whole else "a number"
                told = f"{value:g} is not {kind} from {self.least:g} to {self.most:g}"
                raise ConfigError(where, told, f"such as {self.example}")
        return sorted(set(given))


SCALE = Axis(
    "lora-scale", "scale of the adapters", 0, 10, False, "0,0.125,0.25,0.5,1; 1 is as it was trained"
)
FRAMES = Axis("frames", "frames of a clip", 1, 1024, True, "2,4,8,16")
SIDE = Axis("resolution", "longest side of pictures, in pixels", 8, 8192, True, "64,128,256,448")
KEEP = Axis("keep", "share of a clip's tokens that is read", 0.01, 1, False, "0.125,0.25,0.5,1")
AXES: Mapping[str, Axis] = {axis.name: axis for axis in (SCALE, FRAMES, SIDE, KEEP)}


@dataclass(frozen=True)
class Score:
    """A set's score at one value.

    Attributes:
        value: Share of right answers, or of words as in the reference (ROUGE-L) where no answer can be right.
        gain: Against the smallest value, question by question.
    """

    value: Interval
    gain: Interval


@dataclass(frozen=True)
class Swept:
    """What was found.

    Attributes:
        model: Name of the model.
        axis: What was varied.
        kind: What is scored: accuracy, or overlap.
        sizes: Questions and clips of each set.
        found: By value, and by set.
        tokens: Visual tokens of a clip of high definition, by value.
        enough: By `ENOUGH`.
    """

    model: str
    axis: Axis
    kind: Mapping[str, str]
    sizes: Mapping[str, tuple[int, int]]
    found: Mapping[float, Mapping[str, Score]]
    tokens: Mapping[float, int]
    enough: float

    @property
    def best(self) -> float:
        """By `BEST`."""
        return _best(self.found)

    def reason(self) -> str:
        """Why that one."""
        first, best = min(self.found), self.best
        name = self.axis.name
        if best == first:
            return f"{name} {best:g} is best: no larger one has a higher sum over {', '.join(self.sizes)}"
        told = [f"{name} {100 * one.gain.value:+.1f} points" for name, one in self.found[best].items()]
        said = f"{name} {best:g} is best: {', '.join(told)} against {first:g}"
        return said if self.enough == best else f"{said}; {self.enough:g} is not distinguishable from it"

    def rows(self) -> list[list[str]]:
        """Value, set, score, its interval, the gain against the smallest value, and tokens."""
        return [
            [
                f"{value:g}",
                name.replace("_", " "),
                percent_of(one.value),
                ends_of(one.value),
                points(one.gain),
                str(self.tokens[value]),
            ]
            for value, by_set in self.found.items()
            for name, one in by_set.items()
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "model": self.model,
            "sweep": self.axis.name,
            "sets": {
                n: {"questions": q, "clips": c, "score": self.kind[n]} for n, (q, c) in self.sizes.items()
            },
            "values": [
                {
                    "value": value,
                    "tokens": self.tokens[value],
                    **{name: asdict(one) for name, one in by_set.items()},
                }
                for value, by_set in self.found.items()
            ],
            "best": {"value": self.best, "rule": BEST, "reason": self.reason()},
            "enough": {"value": self.enough, "rule": ENOUGH},
        }


def sweep(
    model: str | Path,
    axis: Axis,
    data: Path,
    out: Path,
    values: Sequence[float],
    *,
    general: Path | None = None,
    kind: str | None = None,
    options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    device: str = "cpu",
    max_tokens: int = 128,
    by: str | None = None,
    report: Reporter = silent,
) -> Swept:
    """Evaluate a model at several values.

    Each has an evaluation of its own in `out/SET/AXIS-VALUE`, which a killed sweep goes on with. Where only
    the language model has adapters, a clip is seen once for all of their scales.

    Args:
        model: See `inference.load.load`.
        axis: What is varied: `SCALE` (of a model with adapters), `FRAMES`, `SIDE` or `KEEP`.
        data: Questions of the domain.
        out: Folder.
        values: Of the axis.
        general: Questions about what should not be forgotten.
        kind: Format of the labels.
        options: Options of the format of `data`, such as `media_root`.
        workers: Decoding processes; None is one per core.
        device: Where the model runs.
        max_tokens: Longest answer.
        by: What clips are taken from, as `evaluate` has it.
        report: Shows progress.

    Raises:
        ConfigError: If there are no adapters to scale, or a value cannot be taken.
        VidaptError: See `evaluate`.
    """
    chosen = axis.values(values)
    sets = {DOMAIN: data, **({GENERAL: general} if general is not None else {})}
    given = {DOMAIN: dict(options or {})}
    samples = {name: list(open_samples(path, kind, **given.get(name, {}))) for name, path in sets.items()}
    engine = load(model, device=device)
    if axis is SCALE:
        refuse_no_adapters(engine.model, model)
    _ = engine.fingerprint  # of the model as it is; settings are added to it
    name, decoding = engine.name, Decoding(max_new_tokens=max_tokens)
    evaluations: dict[str, dict[float, Evaluation]] = {}
    tokens: dict[float, int] = {}
    for set_name, path in sets.items():
        evaluations[set_name] = {}
        for value, varied in _settings(engine, axis, chosen):
            tokens[value] = varied.clip_tokens
            evaluations[set_name][value] = evaluate(
                varied,
                samples[set_name],
                out=out / set_name / f"{axis.name}-{value:g}",
                decoding=decoding,
                controls=(),
                workers=workers,
                judge=world_judge(path if path.is_dir() else path.parent),
                by=by,
                report=report,
            )
    found = swept(name, axis, evaluations, tokens)
    write_json(out / SWEEP, found.to_dict())
    return found


def _settings(engine: Engine, axis: Axis, values: Sequence[float]) -> Iterator[tuple[float, Asked]]:
    """The engine at each value in turn; what one of them set holds until the next one."""
    kept = KeptTokens() if engine.model.blueprint.tower_adapters is None else None
    ways: Mapping[str, Callable[[float], Asked]] = {
        SCALE.name: lambda value: ScaledEngine(engine, value, kept),
        FRAMES.name: lambda value: with_frames(engine, int(value)),
        SIDE.name: lambda value: with_side(engine, int(value)),
        KEEP.name: lambda value: with_keep(engine, value),
    }
    for value in values:
        yield value, ways[axis.name](value)


def swept(
    model: str,
    axis: Axis,
    evaluations: Mapping[str, Mapping[float, Evaluation]],
    tokens: Mapping[float, int],
) -> Swept:
    """Scores of evaluations by set and value."""
    scores = {name: {v: per_question(e) for v, e in by.items()} for name, by in evaluations.items()}
    every = {name: next(iter(by.values())) for name, by in evaluations.items()}
    found: dict[float, dict[str, Score]] = {}
    for name, by_value in scores.items():
        first = by_value[min(by_value)]
        for value, one in by_value.items():
            score = Score(mean_interval(one.values, one.clips), gained(first, one))
            found.setdefault(value, {})[name] = score
    found = dict(sorted(found.items()))
    return Swept(
        model,
        axis,
        {name: per_question(one).kind for name, one in every.items()},
        {name: (len(one.verdicts), one.clips) for name, one in every.items()},
        found,
        tokens,
        _enough(scores, _best(found)),
    )


def _best(found: Mapping[float, Mapping[str, Score]]) -> float:
    return max(sorted(found), key=lambda value: sum(one.value.value for one in found[value].values()))


def _enough(scores: Mapping[str, Mapping[float, PerQuestion]], best: float) -> float:
    values = sorted(next(iter(scores.values())))
    return next(v for v in values if all(gained(by[best], by[v]).high >= 0 for by in scores.values()))
