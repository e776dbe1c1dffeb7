"""What those who trained such models before would say to a recipe, each with its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vidapt.errors import ConfigError, nearest
from vidapt.models.video_lm import VideoLM
from vidapt.planning.devices import Device
from vidapt.planning.numbers import Advice, StagePlan
from vidapt.recipe import Stage
from vidapt.training.outlook import Outlook
from vidapt.training.ready import StageData

_PUBLISHED_TOWER = 20_000_000
"""Parameters; a tower as large as this was pre-trained at a price, smaller ones are quickly trained anew."""

_FEW_CLIPS, _FEW_CELLS = 1000, 16
_LOOKED_AT = 500


@dataclass(frozen=True)
class Asked:
    """What advice is asked about.

    Attributes:
        outlook: The recipe before its work.
        plans: Of its stages.
        device: On which it is to be carried out.
        free: Bytes free on the disk.
    """

    outlook: Outlook
    plans: Sequence[StagePlan]
    device: Device
    free: int

    def stages(self) -> Iterator[tuple[Stage, StagePlan, StageData]]:
        """Each stage with its plan and what it sees."""
        for plan, (name, (_, stage)) in zip(self.plans, self.outlook.left.items(), strict=True):
            yield stage, plan, self.outlook.data[name]

    @property
    def talks(self) -> bool:
        """Whether the model answers in words."""
        return isinstance(self.outlook.model, VideoLM)


Found = Iterator[tuple[str, str]]
"""Names of stages, and what is to be said of each; the name is empty where it is about all of them."""


@dataclass(frozen=True)
class Rule:
    """A piece of experience.

    Attributes:
        find: Tells where it applies.
        source: Who made it.
        error: Whether the recipe should not be carried out where it applies.
    """

    find: Callable[[Asked], Found]
    source: str
    error: bool = False


def advise(asked: Asked) -> list[Advice]:
    """All that is to be said, errors first."""
    found = [
        Advice(name, text, rule.source, stage, rule.error)
        for name, rule in RULES.items()
        for stage, text in rule.find(asked)
    ]
    return sorted(found, key=lambda one: not one.error)


def known(ids: Collection[str]) -> frozenset[str]:
    """Ids of advice, once all are known to exist.

    Raises:
        ConfigError: Naming one that does not.
    """
    for one in ids:
        if one not in RULES:
            raise ConfigError("--ignore", f"there is no advice called {one!r}", nearest(one, RULES))
    return frozenset(ids)


def _learns(stage: Stage, part: str) -> bool:
    return bool(getattr(stage.train, part) != "frozen")


def _large_tower(plan: StagePlan) -> bool:
    return plan.parts["towers"][0] >= _PUBLISHED_TOWER


def _vision_rate(asked: Asked) -> Found:
    for stage, plan, _ in asked.stages():
        rates = stage.optimizer.rates
        both = asked.talks and _learns(stage, "towers") and _learns(stage, "language")
        if both and _large_tower(plan) and rates.towers > rates.language / 5:
            yield (
                stage.name,
                f"the tower's rate is {rates.towers:g}, the language model's {rates.language:g}: a "
                "pre-trained tower keeps what it sees at a rate 5 to 10 times lower than that",
            )


def _large_language(asked: Asked) -> Found:
    for stage, plan, _ in asked.stages():
        if not asked.talks or stage.train.language != "full":
            continue
        size, rate = plan.parts["language"][0], stage.optimizer.rates.language
        most = 2e-5 if size < 20e9 else 1e-5
        if size >= 2e9 and rate > most:
            yield (
                stage.name,
                f"a language model of {size / 1e9:.0f} billion parameters learns at {rate:g}: the larger it "
                f"is, the smaller its rate has to be; {most:g} is the most that was published for this size",
            )


def _little_data(asked: Asked) -> Found:
    for stage, plan, data in asked.stages():
        few = len(data.clips) < _FEW_CLIPS
        if asked.talks and few and _learns(stage, "towers") and _large_tower(plan):
            yield (
                stage.name,
                f"{len(data.clips)} clips train a pre-trained tower: with so few, train the language side "
                "alone first, and the tower only if that helps on clips that were held out",
            )


def _pooled_away(asked: Asked) -> Found:
    for stage, plan, data in asked.stages():
        if not asked.talks or not data.clips or not plan.tokens.clip:
            continue
        cells = _cells_per_frame(asked.outlook.model, plan)
        if cells is not None and cells < _FEW_CELLS:
            yield (
                stage.name,
                f"a frame becomes {cells} cells: what is smaller than a {cells}th of the picture shares its "
                "token with what is around it; pool less in space, and more in time",
            )
            return


def _cells_per_frame(model: VideoLM, plan: StagePlan) -> int | None:
    """Cells that a frame of a clip is read as; None where a connector asks with queries instead."""
    frames = max(1, round(plan.tokens.clip / plan.tokens.frame)) if plan.tokens.frame else 1
    spans = [piece for piece in model.plan(model.tower.size, frames)[1] if isinstance(piece, tuple)]
    if any(extra for _, extra in spans):
        return None
    return sum(grid.h * grid.w for grid, _ in spans) if spans else None


def _half_with_mining(asked: Asked) -> Found:
    mines = asked.talks and asked.outlook.model.blueprint.connector.get("kind") == "token_mining"
    for stage, _, _ in asked.stages():
        if mines and stage.cache.dtype == "float16":
            yield (
                stage.name,
                "features are kept in float16 in front of token mining, whose values grew beyond 65,504: "
                "keep them as bfloat16",
            )


def _tuned_without_general(asked: Asked) -> Found:
    for stage, plan, _ in asked.stages():
        sets = {*stage.retrieval, *(getattr(stage, "measure", None) or ())}
        if _learns(stage, "towers") and _large_tower(plan) and "general" not in sets:
            yield (
                stage.name,
                "the tower learns, and nothing measures what it forgets: a tower tuned on a thousand clips "
                "won on them and lost everywhere else; give a general set",
            )


def _cut_texts(asked: Asked) -> Found:
    for stage, _, data in asked.stages():
        cut = sum(count for name, count in data.counts.items() if name.endswith(("_too_long", "_truncated")))
        whole = data.counts.get("captions", 0) + cut
        if cut:
            yield (
                stage.name,
                f"{cut} of {whole} texts are longer than the text tower reads: shorten them, pair their "
                "sentences, or begin with a text tower of a longer window (Long-CLIP reads 248 tokens)",
            )


def _alone(asked: Asked) -> Found:
    for stage, _, _ in asked.stages():
        if not asked.talks and stage.batching.clips == 1:
            yield stage.name, "a step has one clip, and a contrastive loss has nothing to tell it apart from"


def _one_order(asked: Asked) -> Found:
    for stage, _, data in asked.stages():
        if not asked.talks or stage.batching.apart:
            continue
        some = data.clips[:: max(1, len(data.clips) // _LOOKED_AT)]
        asks = Counter(_questions(sample) for clip in some for sample in clip.samples)
        long = Counter({order: count for order, count in asks.items() if len(order) > 2})
        top = long.most_common(1)
        if top and top[0][1] >= max(3, sum(asks.values()) // 2):
            yield (
                stage.name,
                f"most conversations ask the same {len(top[0][0])} questions in the same order, which "
                "a model learns instead of the questions: set `batching.apart: true`",
            )


def _questions(sample: Any) -> tuple[str, ...]:
    return tuple(turn.text for turn in sample.turns if turn.role == "user")


def _lora_scale(asked: Asked) -> Found:
    for stage, _, _ in asked.stages():
        if asked.talks and stage.train.language == "lora":
            yield (
                stage.name,
                f"adapters are trained at alpha {stage.train.lora.alpha:g}; answers may be better, and less "
                "is forgotten, at a fraction of it: sweep it with `vidapt eval --lora-scale` before merging",
            )


def _blind_untrained(asked: Asked) -> Found:
    for stage, _, _ in asked.stages():
        if asked.talks and _learns(stage, "language") and stage.batching.blind == 0:
            yield (
                stage.name,
                "`batching.blind` is 0: asked without its clip the model will babble, and the blind control "
                "of `vidapt eval` will prove nothing",
            )


def _memory(asked: Asked) -> Found:
    for stage, plan, _ in asked.stages():
        most = asked.device.memory
        if most is not None and plan.memory is not None and plan.memory.total > most:
            yield (
                stage.name,
                f"needs {plan.memory.total / 2**30:.1f} GiB, {asked.device.name} has {most / 2**30:.0f}: set "
                "`batching.at_once` lower, `recompute: true`, `precision: bfloat16`, or adapt by LoRA",
            )


def _disk(asked: Asked) -> Found:
    kept = sum(plan.disk.cache + plan.disk.model for plan in asked.plans)
    need = kept + max((plan.disk.checkpoints for plan in asked.plans), default=0)
    if need > asked.free:
        yield (
            "",
            f"{need / 1e9:.1f} GB are needed on disk, {asked.free / 1e9:.1f} GB are free: set `cache.dtype: "
            "float16`, `cache.keep: nothing`, or give a --runs folder on another disk",
        )


def _cache(asked: Asked) -> Found:
    for stage, plan, _ in asked.stages():
        if plan.disk.cache > stage.cache.max_gb * 1e9:
            yield (
                stage.name,
                f"the cache would take {plan.disk.cache / 1e9:.1f} GB and may take {stage.cache.max_gb:g} "
                "(`cache.max_gb`): raise that, or set `cache.dtype: float16` or `cache.keep: nothing`",
            )


_ABLATIONS = "LLaVA-NeXT ablations (Li et al. 2024)"

RULES: Mapping[str, Rule] = {
    "memory": Rule(_memory, "this plan", error=True),
    "disk": Rule(_disk, "this plan", error=True),
    "cache-limit": Rule(_cache, "this plan", error=True),
    "alone": Rule(_alone, "the loss itself (Radford et al. 2021)", error=True),
    "vision-rate": Rule(_vision_rate, _ABLATIONS),
    "language-rate": Rule(_large_language, _ABLATIONS),
    "little-data": Rule(_little_data, "HiLight (2024); Qwen2-VL's fine-tuning of the language side alone"),
    "pooled-away": Rule(_pooled_away, "PLLaVA (Xu et al. 2024), pooling in space and in time"),
    "half-with-mining": Rule(_half_with_mining, "HiLight (2024), which overflowed in float16"),
    "no-general-set": Rule(_tuned_without_general, "HiLight (2024), whose tuned tower was given up"),
    "cut-texts": Rule(_cut_texts, "Long-CLIP (Zhang et al. 2024)"),
    "one-order": Rule(_one_order, "vidapt's own trial: a small model learned the order of fixed questions"),
    "lora-scale": Rule(_lora_scale, "PLLaVA (Xu et al. 2024): trained at alpha 32, best answers near 4"),
    "blind": Rule(_blind_untrained, "vidapt's own trial: a model never trained blind says one word for ever"),
}
"""All advice by its id."""
