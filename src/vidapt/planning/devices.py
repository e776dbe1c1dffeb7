"""How fast a device computes, and how much it holds."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from vidapt.errors import ConfigError, nearest

ASSUMED = 0.35
"""Share of a device's highest speed that training reaches, where it was not measured."""

_MEASURED_S = 0.2


@dataclass(frozen=True)
class Device:
    """A device to train on.

    Attributes:
        name: What it is called.
        halves: Operations a second on bfloat16 matrices, without sparsity.
        singles: The same on float32 ones; TensorFloat-32 is not used.
        memory: Bytes; None where it shares the machine's.
    """

    name: str
    halves: float
    singles: float
    memory: int | None

    def speed(self, precision: str) -> float:
        """Operations a second at most, in a stage's precision."""
        return self.halves if precision == "bfloat16" else self.singles


def _sheet(name: str, halves: float, singles: float, gigabytes: float) -> Device:
    return Device(name, halves * 1e12, singles * 1e12, round(gigabytes * 2**30))


DEVICES = {
    device.name: device
    for device in (
        _sheet("a10", 125, 31.2, 24),
        _sheet("a100-40g", 312, 19.5, 40),
        _sheet("a100-80g", 312, 19.5, 80),
        _sheet("b200", 2250, 80, 180),
        _sheet("h100", 989, 67, 80),
        _sheet("h200", 989, 67, 141),
        _sheet("l4", 121, 30.3, 24),
        _sheet("l40s", 362, 91.6, 48),
        _sheet("rtx3090", 71, 35.6, 24),
        _sheet("rtx4090", 165, 82.6, 24),
    )
}
"""Teraflops (tensor cores on bfloat16 without sparsity, plain float32) and GiB of the makers' data sheets."""


def find_device(name: str) -> Device:
    """A device by its name; `cpu` is measured, on as many threads as torch uses now.

    Raises:
        ConfigError: If nothing is known of it.
    """
    if name == "cpu":
        speed = _measured()
        return Device("cpu", speed, speed, None)
    if name not in DEVICES:
        raise ConfigError("device", f"nothing is known of {name!r}", nearest(name, ["cpu", *DEVICES]))
    return DEVICES[name]


def _measured() -> float:
    """Operations a second of this machine on float32 matrices that fit into its caches."""
    side = 512
    one, other = torch.randn(side, side), torch.randn(side, side)
    one @ other
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < _MEASURED_S:
        one @ other
        done += 1
    return done * 2 * side**3 / (time.perf_counter() - started)
