"""Which model an adaptation begins with, and what a better one would be."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from typing import Any

import torch

from vidapt.adapting.decisions import Decisions
from vidapt.adapting.job import where_of
from vidapt.loading import outline_model, usable_device
from vidapt.planning.devices import DEVICES
from vidapt.recipe.shipped import recipe_path
from vidapt.yaml_lines import parse_yaml

LARGE = 200_000_000
"""Parameters; a language model of a larger one was trained at a price, and is adapted by LoRA."""

SMALL = "small-domain"
"""Recipe for small models, which says what it begins with."""

_KNOWS = {"billiards-home": "pool tables, and nothing else"}

_BETTER = {"Qwen/Qwen3-VL-4B-Instruct": 4.4e9, "Qwen/Qwen3-VL-2B-Instruct": 2.1e9}
"""Parameters of published models that are small and good, larger ones first."""

_BYTES = {True: 2, False: 4}
"""Of a frozen weight, on a GPU and elsewhere."""

_SHARE = 0.8
"""Of the memory there is that a model may take."""

_BESIDE = 6e9
"""Bytes for adapters, their optimizer and the activations of a step of few clips, at a rough guess."""


@dataclass(frozen=True)
class Base:
    """What an adaptation begins with.

    Attributes:
        name: A shipped model's name, or a folder.
        parameters: How many it has.
        frames: Which moments it looks at.
        published: Whether it is a published one, of its authors' format.
    """

    name: str
    parameters: int
    frames: Any
    published: bool = False

    @property
    def large(self) -> bool:
        """Whether it is adapted by LoRA."""
        return self.parameters > LARGE


def choose_base(start: str | None, device: str, decisions: Decisions) -> Base:
    """Take the model that was asked for, or a shipped one.

    Raises:
        CheckpointError: If there is no such model, or it writes no text.
    """
    name = _shipped() if start is None else where_of(start)
    model, _ = outline_model(name)
    parameters = sum(weight.numel() for weight in model.parameters())
    base = Base(name, parameters, model.blueprint.frames, model.origin is not None)
    if start is not None:
        decisions.make("base", name, f"given; {base.parameters / 1e6:,.0f} million parameters")
        return base
    knows = f"; it knows {_KNOWS[name]}" if name in _KNOWS else ""
    decisions.make("base", name, f"it comes with vidapt and learns in minutes{knows}")
    decisions.make("a better base", *_better(device))
    return base


def _shipped() -> str:
    """What the recipe for small models begins with."""
    recipe, _ = parse_yaml(recipe_path(SMALL))
    return str(recipe["start"])


def _better(device: str) -> tuple[str, str]:
    """A published model for which there is memory, and why; or why there is none."""
    gpu, free = device.startswith("cuda"), memory_of(device)
    for name, parameters in _BETTER.items():
        need = parameters * _BYTES[gpu] + _BESIDE
        if need <= _SHARE * free:
            slow = "" if gpu else ", slowly without a GPU"
            why = (
                f"of real footage it knows far more; it needs roughly {need / 1e9:.0f} GB of the "
                f"{free / 1e9:.0f} GB here{slow}; `vidapt plan` with it tells exactly"
            )
            return f"--start {name}, or a folder with its files", why
    return (
        "none for this machine",
        f"{free / 1e9:.0f} GB are too few for a published model of 2 billion weights",
    )


def memory_of(device: str) -> int:
    """Bytes that a device has, or this machine."""
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(torch.device(device)).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def sheet_of(name: str, memory: int) -> str:
    """Name in `planning.devices` of a GPU by what it calls itself; `cpu` if nothing is known of it.

    >>> sheet_of("NVIDIA A100-SXM4-80GB", 80 << 30)
    'a100-80g'

    Args:
        name: As its driver has it.
        memory: Bytes it has.
    """
    words = re.split(r"[\s-]+", name.lower())
    words += [one + other for one, other in itertools.pairwise(words)]  # `RTX 4090`
    known = [device for device in DEVICES.values() if device.name.partition("-")[0] in words]
    nearest = sorted(known, key=lambda device: abs((device.memory or 0) - memory))
    return nearest[0].name if nearest else "cpu"


def planned_on(device: str) -> str:
    """What the plan's times are told for."""
    if not device.startswith("cuda"):
        return "cpu"
    return sheet_of(torch.cuda.get_device_name(torch.device(device)), memory_of(device))


def choose_device(asked: str | None) -> str:
    """The device that was asked for; else a GPU, if there is one.

    Raises:
        ConfigError: If it cannot be used.
    """
    device = asked or ("cuda" if torch.cuda.is_available() else "cpu")
    usable_device(device)
    return device
