"""What changes weights: AdamW with a rate for each part and layer, by torch or in less memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from vidapt.errors import ConfigError
from vidapt.models.libraries import load_quietly
from vidapt.recipe import Optimizer
from vidapt.training.freeze import Model, parts_of, stacks_of, trainable, unused_weights
from vidapt.training.layers import distances


def make_optimizer(model: Model, objective: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter, 2019) with a rate per part; vectors and scalars do not decay.

    Under `layer_decay` the rate of a layer is that of the next one times the decay, as in ELECTRA (Clark et
    al. 2020, arXiv 2003.10555) and BEiT (Bao et al. 2022, arXiv 2106.08254).

    Raises:
        ConfigError: If the library that `kind` needs is not installed.
    """
    groups: dict[tuple[str, bool, float], list[nn.Parameter]] = {}
    shares = _shares(model, settings)
    part_of = {member: part for part, members in parts_of(model).items() for member in members}
    for name, weight in trainable(model, objective):
        member = name.partition(".")[0]
        key = part_of.get(member, member), weight.ndim > 1, shares.get(id(weight), 1.0)
        groups.setdefault(key, []).append(weight)
    made = _adamw(settings, model.device)(
        [
            {
                "params": weights,
                "lr": getattr(settings.rates, part) * share,
                "peak": getattr(settings.rates, part) * share,
                "part": part,
                "weight_decay": settings.weight_decay if decays else 0.0,
            }
            for (part, decays, share), weights in groups.items()
        ],
        betas=settings.betas,
        eps=settings.eps,
    )
    assert isinstance(made, torch.optim.Optimizer)
    return made


def check_optimizer(settings: Optimizer) -> None:
    """See that the library that an optimizer needs is there.

    Raises:
        ConfigError: If it is not installed.
    """
    _adamw(settings, torch.device("cpu"))


def rates_of(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The largest rate of each part, as it is now."""
    found: dict[str, float] = {}
    for group in optimizer.param_groups:
        found[group["part"]] = max(group["lr"], found.get(group["part"], 0.0))
    return found


def _shares(model: Model, settings: Optimizer) -> dict[int, float]:
    """By what the rate of a weight's part is multiplied for it, where that is not 1."""
    return dict(_decayed(model, settings))


def _decayed(model: Model, settings: Optimizer) -> Iterator[tuple[int, float]]:
    unused = unused_weights(model)
    for part, decay in settings.layer_decay:
        if decay == 1 or part not in parts_of(model):
            continue
        for stack in stacks_of(model, part):
            yield from ((weight, decay**away) for weight, away in distances(stack, unused).items())


def _adamw(settings: Optimizer, device: torch.device) -> Any:
    if settings.kind == "adamw":
        return torch.optim.AdamW
    try:
        library: Any = load_quietly("bitsandbytes")
    except ImportError as error:
        raise ConfigError(
            "optimizer.kind",
            f"{settings.kind} needs bitsandbytes: {error}",
            "pip install 'vidapt[quant]', or use `adamw`",
        ) from error
    if settings.kind == "adamw_8bit":  # Dettmers et al. 2022 (arXiv 2110.02861)
        return library.optim.AdamW8bit
    # State that goes to main memory where a GPU has no room for it: Dettmers et al. 2023 (arXiv 2305.14314).
    return library.optim.PagedAdamW if device.type == "cuda" else library.optim.AdamW
