"""What a stage will cost: its own step on tensors without memory, its own order, its own plans of clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from vidapt.models.assign import parameters_on_meta
from vidapt.models.placement import quantizable
from vidapt.models.video_lm import VideoLM
from vidapt.planning.imagined import ImaginedFootage
from vidapt.planning.lengths import Lengths, StepLength
from vidapt.planning.numbers import Disk, Memory, Spread, StagePlan, Tokens
from vidapt.planning.shapes import Shapes
from vidapt.planning.step import StepCost, step_cost
from vidapt.planning.weightless import Account, Weightless, size_of
from vidapt.recipe import Stage
from vidapt.training.ahead import Item
from vidapt.training.checkpoint import KEEP
from vidapt.training.freeze import parts_of, set_trainable, trainable, training_mode
from vidapt.training.kind import Kind, Prepared
from vidapt.training.number_formats import planned_formats
from vidapt.training.picture_sizes import grouped_sizes
from vidapt.training.ready import StageData
from vidapt.training.stage import make_objective
from vidapt.training.work import StageWork

SAMPLED_STEPS = 32
"""Steps whose tokens are counted where not all are asked for."""

SAMPLED_CLIPS = 256
"""Clips that are looked at where labels are read row by row."""

SAMPLED_TEXTS = 2000
"""Samples whose lengths are told of at most; they are spread evenly over all."""


@dataclass
class StagePlanner:
    """Plans the stages of a recipe in their order: each goes on with the model that the one before it left.

    Args:
        kind: Of the model.
        model: What the first stage begins with; it is not changed.
        tokenizer: The model's.
        seed: The recipe's.
        every_step: Count every step's tokens.
    """

    kind: Kind
    model: Any
    tokenizer: Any
    seed: int
    every_step: bool = False

    def __post_init__(self) -> None:
        self._weightless = Weightless()
        self._bare = self._weightless.module(self.model)

    def plan(self, index: int, stage: Stage, data: StageData) -> StagePlan:
        """What a stage costs.

        Raises:
            ConfigError: If it cannot train this model.
        """
        objective = make_objective(stage, self._bare, self.seed)
        with parameters_on_meta():
            set_trainable(self._bare, stage.train)
        model = self._weightless.module(self._bare, planned_formats(self._bare, [stage]))
        objective = self._weightless.module(objective)
        training_mode(model, stage.train, recompute=stage.recompute)
        items = _items(data)
        count = len(data.clips) if data.streamed else len(items)
        side_of = grouped_sizes(stage.batching.sizes, data.clips).side
        shapes = Shapes([clip for clip, _ in items], model.blueprint.frames, side_of=side_of)
        footage = self._footage(model, stage, objective, shapes)
        work = self._work(index, stage, data, model, objective, footage)
        lengths = Lengths(model, self.tokenizer, stage, data, shapes)
        counted = self._counted(work, lengths)
        cost, unknown = _cost(model, objective, work, counted)
        return StagePlan(
            name=stage.name,
            clips=count,
            samples=data.samples,
            steps=work.steps,
            parts=_parts(model, objective),
            tokens=self._tokens(work, counted, lengths, shapes, data, items),
            flops=cost.flops * _mean_share(counted) * work.steps,
            fill_flops=_fill_flops(footage, items, count) if footage.keeps == "features" else 0.0,
            memory=None if unknown else _memory(model, objective, stage, cost),
            disk=_disk(model, objective, footage, items, stage, count),
            kv_bytes=_kv_bytes(model) * max(map(lengths.clip, _some(items, 64)), default=0),
            unknown=unknown,
        )

    def _footage(self, model: Any, stage: Stage, objective: nn.Module, shapes: Shapes) -> ImaginedFootage:
        return ImaginedFootage(
            self.kind.eyes(model),
            stage,
            objective,
            shapes,
            self._weightless,
            tower_trains=stage.train.towers != "frozen",
        )

    def _work(
        self, index: int, stage: Stage, data: StageData, model: Any, objective: nn.Module, footage: Any
    ) -> StageWork:
        prepared = Prepared(
            stage=stage,
            index=index,
            seed=self.seed,
            folder=Path(),
            model=model,
            tokenizer=self.tokenizer,
            objective=objective,
            footage=footage,
            data=data,
            lessons={},
            card=dict,
            set_aside=lambda broken: None,
        )
        return self.kind.work(prepared)

    def _counted(self, work: StageWork, lengths: Lengths) -> dict[int, StepLength]:
        numbers = range(work.steps) if self.every_step else _some(range(work.steps), SAMPLED_STEPS)
        return {number: lengths.step(work.visits(number)) for number in numbers}

    def _tokens(
        self,
        work: StageWork,
        counted: Mapping[int, StepLength],
        lengths: Lengths,
        shapes: Shapes,
        data: StageData,
        items: Sequence[Item],
    ) -> Tokens:
        some = _some(items, 200)
        sizes = [lengths.clip(item) for item in some]
        frames = sum(len(shapes(item)[1].seconds) for item in some)
        alone = [
            lengths.sample(clip, sample)
            for clip in _some(range(len(data.clips)), SAMPLED_TEXTS // 4)
            for sample in _some(range(len(data.clips[clip].samples)), 4)
        ]
        mean = float(np.mean([one.tokens for one in counted.values()]))
        return Tokens(
            clip=int(np.median(sizes)) if sizes else 0,
            frame=sum(sizes) / frames if frames else 0.0,
            sample=Spread.of(alone),
            total=round(mean * work.steps),
            exact=len(counted) == work.steps and shapes.whole and not data.streamed,
        )


def _items(data: StageData) -> list[Item]:
    """Each clip of a stage once, with the number that it is read together with; of streamed ones, some."""
    clips = _some(data.clips, SAMPLED_CLIPS) if data.streamed else data.clips
    return list(dict.fromkeys((clip, len(one.media)) for one in clips for clip in one.media))


def _some(all_of_them: Sequence[Any], most: int) -> Sequence[Any]:
    """At most so many, spread evenly, from the first on."""
    return all_of_them[:: max(1, -(-len(all_of_them) // most))]


def _cost(
    model: Any, objective: nn.Module, work: StageWork, counted: Mapping[int, StepLength]
) -> tuple[StepCost, str]:
    """What the heaviest of some steps costs; or nothing, and why that is not known."""
    heaviest = max(counted, key=lambda number: (counted[number].widest, counted[number].tokens))
    try:
        batches = work.batches(heaviest)
        return step_cost(model, objective, work.stage, batches), ""
    # Of a user's own part, or one that decides by what it sees, anything may come.
    except Exception as error:  # noqa: BLE001
        reason = str(error).partition("\n")[0]
        return StepCost(0.0, 0, 0, 0), f"a step cannot be foreseen: {type(error).__name__}: {reason}"


def _mean_share(counted: Mapping[int, StepLength]) -> float:
    """Tokens of a mean step among those of the heaviest."""
    tokens = [one.tokens for one in counted.values()]
    heaviest = max(counted.values(), key=lambda one: (one.widest, one.tokens))
    return float(np.mean(tokens)) / max(1, heaviest.tokens)


def _parts(model: Any, objective: nn.Module) -> dict[str, tuple[int, int]]:
    """Parameters of each part of a model, and how many of them learn."""
    found: dict[str, tuple[int, int]] = {}
    for part, members in parts_of(model).items():
        weights = {
            id(weight): weight
            for name, weight in model.named_parameters()
            if name.partition(".")[0] in members
        }.values()
        learns = sum(weight.numel() for weight in weights if weight.requires_grad)
        found[part] = sum(weight.numel() for weight in weights), learns
    own = sum(weight.numel() for weight in objective.parameters())
    return found | ({"objective": (own, own)} if own else {})


_STATE = {"adamw": 2.0, "adamw_8bit": 0.5, "adamw_offload": 0.0}
"""Bytes that an optimizer keeps on the device for each byte of what learns, which is in float32: AdamW two
numbers for each. Pages that are offloaded come and go."""

_BYTES = {"8bit": 1.0, "4bit": 0.5}


def _memory(model: Any, objective: nn.Module, stage: Stage, cost: StepCost) -> Memory:
    weights = [*model.parameters(), *model.buffers(), *objective.parameters(), *objective.buffers()]
    learning = size_of([weight for _, weight in trainable(model, objective)])
    state = round(_STATE[stage.optimizer.kind] * learning)
    mean = learning if stage.average is not None else 0
    saved = _saved_by_few_bits(model, stage)
    return Memory(size_of(weights) - saved + mean, cost.gradients, state, cost.activations, cost.logits)


def _saved_by_few_bits(model: Any, stage: Stage) -> int:
    """Bytes by which the matrices of a language model are smaller under `train.base`."""
    if stage.train.base == "stored" or not isinstance(model, VideoLM):
        return 0
    matrices = [layer.weight for layer in quantizable(model).values()]
    return sum(round(one.numel() * (one.element_size() - _BYTES[stage.train.base])) for one in matrices)


def _disk(
    model: Any,
    objective: nn.Module,
    footage: ImaginedFootage,
    items: Sequence[Item],
    stage: Stage,
    count: int,
) -> Disk:
    learning = size_of([weight for _, weight in trainable(model, objective)])
    kept = 0.0
    if footage.keeps != "nothing":
        some = _some(items, 16)
        sizes = _each(footage, some, lambda item: _kept_bytes(footage, item, stage))
        kept = float(np.mean(sizes)) * count if some else 0.0
    models = 1 + (len(stage.sets) if stage.train.base == "stored" else 0)
    return Disk(round(kept), KEEP * 3 * learning, models * size_of(list(model.parameters())))


def _kept_bytes(footage: ImaginedFootage, item: Item, stage: Stage) -> int:
    """What is kept of a clip."""
    if footage.keeps == "frames":
        return size_of([view for views in footage.views([item]) for view in views.tensors])
    tensors = [
        t for seen in footage.seen([item]) for one in seen.features for t in (one.x, one.extra, *one.levels)
    ]
    size = size_of([tensor for tensor in tensors if tensor is not None])
    wide = tensors[0].element_size() if tensors[0] is not None else 1
    return size if stage.cache.dtype == "exact" else size * 2 // wide


def _fill_flops(footage: ImaginedFootage, items: Sequence[Item], count: int) -> float:
    """Operations of what is computed once for each clip."""

    def flops(item: Item) -> int:
        with Account() as account:
            footage.seen([item])
        counted: int = account.flops
        return counted

    some = _some(items, 4)
    return float(sum(_each(footage, some, flops))) / max(1, len(some)) * count


def _each(footage: ImaginedFootage, items: Sequence[Item], tell: Callable[[Item], int]) -> list[int]:
    """What is told of each clip, asked once of those that are seen alike."""
    keys = [footage.alike(item) for item in items]
    told = {key: tell(item) for key, item in dict(zip(keys, items, strict=True)).items()}
    return [told[key] for key in keys]


def _kv_bytes(model: Any) -> int:
    """What a language model keeps of each token that it has read, in its own number format."""
    language = getattr(model, "language", None)
    if language is None:
        return 0
    config = language.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    layers = sum("attention" in kind and kind != "linear_attention" for kind in kinds)
    size: int = 2 * layers * heads * width * next(language.parameters()).element_size()
    return size
