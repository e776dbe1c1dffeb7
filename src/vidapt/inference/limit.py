"""How fast clips could be captioned at best: by what a device multiplies and moves in a second.

Reading a clip (its towers, its connector and its prefix) is bound by products; writing is bound by how fast
weights, which are read once for all rows, and what is remembered of each row, are moved ("Roofline": Williams
et al. 2009). Neither is ever reached; how far a run stays below says whether to look for the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from vidapt.inference.engine import Engine
from vidapt.models.reach import most_frames
from vidapt.models.reading import column_bytes

_SIDES = {"cuda": 8192, "cpu": 1024}
_MEASURED_S = 0.1
_LOOK = (360, 640)
"""Pixels of the clip that is looked at to count."""

_FEW = 16
"""Tokens that are read to count what one takes."""


@dataclass(frozen=True)
class Speed:
    """What a device does in a second, measured with nothing else to do.

    Attributes:
        products: Operations of a matrix product, each multiplication and each addition one.
        bytes: Read and written in copying.
    """

    products: float
    bytes: float


@dataclass(frozen=True)
class Limit:
    """What a clip takes at least.

    Attributes:
        speed: Of the device.
        seen: Operations until a clip's tokens are there.
        token: Operations for a token that is read, without attention to others.
        pair: Operations for a token's attention to another.
        weights: Bytes of the language model.
        column: Bytes that are remembered of a token.
        both: Whether the device multiplies for some clips while it moves bytes for others, as a GPU does on
            which the tower looks ahead; a processor's cores do one after the other.
    """

    speed: Speed
    seen: float
    token: float
    pair: float
    weights: int
    column: int
    both: bool = False

    @classmethod
    def of(cls, engine: Engine) -> Limit:
        """Measure the device, and count what the model does there."""
        model = engine.model
        language = list(model.language.parameters())
        config = model.language.config.get_text_config()
        return cls(
            speed=measured(model.device, language[0].dtype),
            seen=_seen(engine),
            token=_token(engine),
            # Scores and weighted values: two products of the width in every layer, half of them masked.
            pair=2.0 * config.hidden_size * config.num_hidden_layers,
            weights=sum(one.numel() * one.element_size() for one in language),
            column=column_bytes(model),
            both=model.device.type == "cuda",
        )

    def seconds(self, read: float, new: float, rows: int, answers: int = 1) -> float:
        """Of one clip.

        Args:
            read: Tokens of a clip and of the text with it.
            new: Tokens written about it, by all of its answers.
            rows: Answers that are written at a time.
            answers: About each clip.
        """
        products = self.seen + self.token * (read + new) + self.pair * read * read
        # Rows behind one prefix read it together.
        moved = new * (self.weights / max(1, rows) + self.column * read / max(1, answers))
        parts = (products / self.speed.products, moved / self.speed.bytes)
        return max(parts) if self.both else sum(parts)


def measured(device: torch.device, dtype: torch.dtype) -> Speed:
    """A device's speed in a number format, on as many threads as torch uses now."""
    side = _SIDES.get(device.type, _SIDES["cpu"])
    left = torch.randn(side, side, device=device).to(dtype)
    moved = torch.zeros(4 * side, side, device=device, dtype=dtype)
    target = torch.zeros_like(moved)
    product = _rate(lambda: left @ left, device) * 2.0 * side**3
    copied = _rate(lambda: target.copy_(moved), device) * 2.0 * moved.numel() * moved.element_size()
    return Speed(product, copied)


def _rate(work: Callable[[], object], device: torch.device) -> float:
    """How often something is done in a second."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    work()
    wait()
    began, times = time.perf_counter(), 0
    while time.perf_counter() - began < _MEASURED_S:
        work()
        wait()
        times += 1
    return times / (time.perf_counter() - began)


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of products, as torch's own tables have them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: float = 0.0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=found)
        return found


# Not in inference mode, in which linear layers are not taken apart into products.
@torch.no_grad()
def _seen(engine: Engine) -> float:
    model = engine.model
    frames, size = most_frames(model.blueprint.frames), model.decode_size or _LOOK
    views = model.cut(torch.zeros(frames, *size, 3, dtype=torch.uint8))
    placed = tuple(one.to(model.device) for one in views.tensors)
    with _Counted() as counter:
        model.read(model.see_views(replace(views, tensors=placed)))
    return float(counter.operations)


@torch.no_grad()
def _token(engine: Engine) -> float:
    model = engine.model
    ids = torch.zeros(1, _FEW, dtype=torch.long, device=model.device)
    embedded = model.entering(ids, torch.zeros_like(ids, dtype=torch.bool), None)
    places = model.positions.ids([_FEW])[0][:, None].to(model.device)
    with _Counted() as counter:
        model.language.base_model(
            **embedded, position_ids=places[0] if len(places) == 1 else places, use_cache=False
        )
    return float(counter.operations) / _FEW
