"""A proof that a model computes the same once its adapters are merged, or others are in their place.

It reads a few sequences before and after. Layers are compared on what came into each of them, so that the one
that differs is named, and the logits at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from vidapt.errors import CheckpointError
from vidapt.models.libraries import load_quietly
from vidapt.models.reach import most_frames, reach_of
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Moments
from vidapt.video import Every, Keyframes, Policy

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 3e-2}
"""How far a layer's output may be off, as a share of its largest number, by its weights' format."""

_AT_THE_END = 4
"""As many times that may be the logits, where the roundings of all layers have added up."""

_ROWS = 8
"""Of each layer's input, which are compared."""

_SENTENCES = ("describe the video.", "what happens first, and who did it? answer in one word: yes or no.")
_TOKENS, _SIDE, _FRAMES = 24, 256, 8


@dataclass(frozen=True)
class Sequences:
    """What a model is asked to read.

    Attributes:
        ids: Of each; a negative one stands for its clip.
        clips: [T, H, W, 3] uint8, as many as there are negative ids in each.
        tokenizer: The model's; None where nothing needs it.
    """

    ids: Sequence[Sequence[int]]
    clips: Sequence[Sequence[Tensor]]
    tokenizer: Any = None

    @classmethod
    def of(cls, model: VideoLM, tokenizer: Any = None) -> Sequences:
        """Some that a model can read: text alone, and behind a moving picture wherever that has room.

        Args:
            model: It.
            tokenizer: Its tokenizer; without one, tokens from all over its vocabulary are taken.
        """
        reach = reach_of(model).positions
        texts = [text[: int(min(_TOKENS, reach))] for text in _texts(model, tokenizer)]
        frames = _frames(model.blueprint.frames)
        size = model.decode_size or (_SIDE, _SIDE)
        layout = model.plan(size, frames)[1]
        cells = sum(span[0].cells + span[1] for span in layout if isinstance(span, tuple))
        spelled = any(not isinstance(span, tuple) for span in layout)
        if (spelled and tokenizer is None) or 2 * (cells + _TOKENS) > reach:
            return cls(texts, [[]] * len(texts), tokenizer)
        return cls([*texts, [-1, *texts[0]]], [*([[]] * len(texts)), [_moving(frames, size)]], tokenizer)

    @torch.no_grad()
    def logits(self, model: VideoLM) -> list[Tensor]:
        """[L, vocabulary] of each."""
        return [
            model.logits(ids, clips, self.tokenizer, [_steady(len(clip)) for clip in clips])
            for ids, clips in zip(self.ids, self.clips, strict=True)
        ]


def _texts(model: VideoLM, tokenizer: Any) -> list[list[int]]:
    words = model.language.get_input_embeddings().num_embeddings
    if tokenizer is None:
        return [
            [(7919 * place + 13) % words for place in range(start, start + _TOKENS)] for start in (0, 999)
        ]
    found = [tokenizer(text, add_special_tokens=False).input_ids for text in _SENTENCES]
    return [[token % words for token in ids] for ids in found]


def _frames(policy: Policy) -> int:
    """As many as a clip has that a model may be shown; few are as good as the hundreds of a long film."""
    most = most_frames(policy)
    return min(most, _FRAMES) if isinstance(policy, Every | Keyframes) else most


def _moving(frames: int, size: tuple[int, int]) -> Tensor:
    """A gradient that moves, [T, H, W, 3]."""
    # Counted in bytes, which begin again at 256: there may be hundreds of frames.
    t, y, x = (torch.arange(length).to(torch.uint8) for length in (frames, *size))
    t, y = t[:, None, None], y[:, None]
    channels = (3 * x + 7 * t, 2 * y + 5 * t, (x + y)[None])
    return torch.stack([channel.expand(frames, *size) for channel in channels], dim=-1)


def _steady(frames: int) -> Moments:
    return Moments(tuple(float(second) for second in range(frames)), float(frames))


@dataclass
class Trace:
    """What a model computed of some sequences.

    Attributes:
        sequences: These.
        logits: Of each.
        layers: By the name of a layer with adapters, [R, in] rows that came in, and [R, out] what they
            became.
    """

    sequences: Sequences
    logits: list[Tensor] = field(default_factory=list)
    layers: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: VideoLM, sequences: Sequences) -> Trace:
        """Have a model read some sequences."""
        trace = cls(sequences)
        handles = [
            layer.register_forward_hook(trace._keep(name), with_kwargs=False)
            for name, layer in adapted_layers(model)
        ]
        try:
            with _asked(model):
                trace.logits = sequences.logits(model)
        finally:
            for handle in handles:
                handle.remove()
        return trace

    def _keep(self, name: str) -> Any:
        def keep(layer: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> None:
            del layer
            # A linear layer treats every row alike; embeddings are given numbers of tokens.
            if name not in self.layers and given[0].is_floating_point():
                rows = [tensor.detach().flatten(0, -2)[:_ROWS].clone() for tensor in (given[0], found)]
                self.layers[name] = rows[0], rows[1]

        return keep

    @torch.no_grad()
    def check(self, merged: VideoLM) -> None:
        """See that a model computes the same.

        Args:
            merged: Of the same layers, of which some have no adapters any more, or others.

        Raises:
            CheckpointError: Naming the layer that differs most, or the logits.
        """
        with _asked(merged):
            far = {
                name: _off(merged.get_submodule(name)(given), found) / _tolerance(merged, name)
                for name, (given, found) in self.layers.items()
            }
            worst = max(far, key=lambda name: far[name], default="")
            if worst and not far[worst] <= 1:
                raise _differs(worst, far[worst])
            for ours, theirs in zip(self.logits, self.sequences.logits(merged), strict=True):
                limit = _AT_THE_END * TOLERANCE.get(_format(merged.language), TOLERANCE[torch.bfloat16])
                if not _off(theirs, ours) <= limit:
                    raise _differs("logits", _off(theirs, ours) / limit)


@contextmanager
def _asked(model: VideoLM) -> Iterator[None]:
    """In evaluation mode for a while: adapters may drop what they read."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _off(found: Tensor, wanted: Tensor) -> float:
    """The largest difference as a share of the largest number; NaN where one is not finite."""
    wide = wanted.double()
    return float((found.double() - wide).abs().max() / wide.abs().max().clamp_min(1e-12))


def _tolerance(model: VideoLM, name: str) -> float:
    return TOLERANCE.get(_format(model.get_submodule(name)), TOLERANCE[torch.bfloat16])


def _format(module: nn.Module) -> torch.dtype:
    """The coarsest number format of a module's weights."""
    return max((weight.dtype for weight in module.parameters()), key=lambda dtype: TOLERANCE.get(dtype, 0.0))


def _differs(name: str, times: float) -> CheckpointError:
    return CheckpointError(
        name,
        f"computes something else once adapters are merged: {times:.3g} times as far off as rounding is",
        "nothing is written; keep the adapters apart, and see whether all weights are finite",
    )


def adapted_layers(part: nn.Module) -> Iterator[tuple[str, Any]]:
    """Layers that carry adapters, by their names."""
    load_quietly("peft")
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in part.named_modules():
        if isinstance(layer, BaseTunerLayer):
            yield name, layer


def can_be_asked(model: VideoLM) -> bool:
    """Whether a model has weights to compute with: of one that is only planned there is nothing to prove."""
    return not any(weight.is_meta or isinstance(weight, FakeTensor) for weight in model.parameters())
