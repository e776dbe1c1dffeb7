"""How a learning rate rises and falls over a stage."""

from __future__ import annotations

import math

from torch.optim import Optimizer as TorchOptimizer

from vidapt.recipe import Optimizer


def set_rates(optimizer: TorchOptimizer, settings: Optimizer, step: int, total: int) -> None:
    """Give every group its rate for a step counted from 0."""
    factor = rate_factor(settings, step, total)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def rate_factor(settings: Optimizer, step: int, total: int) -> float:
    """Share of the peak rate at a step: a warm-up in a line from `warmup_floor`, then the decay to `floor`.

    Sources: cosine, Loshchilov & Hutter 2017 (arXiv 1608.03983); warm-up, stable, decay, Hu et al. 2024
    (MiniCPM, arXiv 2404.06395).
    """
    warm = settings.warmup * total
    if step < warm:
        low = settings.warmup_floor
        return low + (1 - low) * (step + 1) / (warm + 1)
    return settings.floor + (1 - settings.floor) * _shape(settings, step, warm, total)


def _shape(settings: Optimizer, step: int, warm: float, total: int) -> float:
    """What is left of the peak, from 1 to 0."""
    progress = (step - warm) / max(1.0, total - warm)
    if settings.decay == "constant":
        return 1.0
    if settings.decay == "wsd":
        return min(1.0, (total - step) / (settings.cooldown * total))
    return 1 - progress if settings.decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
