"""Frozen towers that others learn from: opened once, shown every clip once, and kept in no checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.hub import open_dual_encoder
from vidapt.loading import compares, locate_dual, open_model
from vidapt.models.dual_encoder import DualEncoder
from vidapt.nouns import Plan
from vidapt.recipe import Cache, Scene, Spec
from vidapt.training.ahead import Item
from vidapt.training.align.eyes import DualEyes
from vidapt.training.footage import Footage
from vidapt.training.freeze import Model
from vidapt.video.choose import Policy, Uniform


@dataclass(frozen=True)
class Described:
    """What a teacher shows depends on, besides its weights; like a blueprint.

    Attributes:
        frames: Which frames it sees.
        resolution: Frames to its view.
        towers: Its tower, alone in a tuple.
        scenes: None: stills and footage are cut alike.
    """

    frames: Policy
    resolution: Spec
    towers: tuple[Spec, ...]
    scenes: Mapping[Scene, Spec]


class Teacher(nn.Module):
    """A frozen tower that is shown the frames its student sees, each clip cut into one view.

    Which frames a model reads is a setting and not in its weights: a teacher is shown its student's.

    Args:
        tower: It is put into evaluation mode and gets no gradients.
        blueprint: What else decides what it shows.

    Attributes:
        blueprint: The same.
        tower: The same.
    """

    def __init__(self, tower: nn.Module, blueprint: Described) -> None:
        super().__init__()
        self.blueprint: Any = blueprint
        self.tower: Any = tower
        self._resolution = parts.build(
            "resolutions", blueprint.resolution, size=self.tower.size, width=self.tower.width
        )
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device

    def plan(self, size: tuple[int, int], frames: int) -> Plan:
        """What will be cut from a clip; see `DualEncoder.plan`."""
        plan: Plan = self._resolution.plan(size, frames)
        return plan

    def cut(self, pixels: Tensor) -> Tensor:
        """The view of one decoded clip: [T, H, W, 3] uint8 -> [1, T, 3, h, w]."""
        (view,) = self._resolution.cut(pixels, self.plan((pixels.shape[1], pixels.shape[2]), len(pixels)))
        assert isinstance(view, Tensor)
        return view.unsqueeze(0)


def open_teachers(objective: Spec, frames: Policy, device: torch.device) -> dict[str, Teacher]:
    """The teachers of a stage, each tried out on a black clip.

    Args:
        objective: The stage's, as the recipe has it.
        frames: What the student sees.
        device: Where they are tried out; they lie in main memory before and after.

    Returns:
        By name; empty if the objective has none.

    Raises:
        CheckpointError: If a model does not exist or cannot be opened.
        ConfigError: If it has no such tower, or its tower cannot see such clips, or shows no patches.
    """
    asked: Mapping[str, Any] = getattr(parts.build("objectives", objective), "teachers", {})
    opened = {name: _open(name, one, frames) for name, one in asked.items()}
    for name, teacher in opened.items():
        _try(name, teacher.to(device))
        teacher.cpu()
    return opened


def _open(name: str, asked: Any, frames: Policy) -> Teacher:
    path = asked.path
    model: Model = open_dual_encoder(locate_dual(path))[0] if compares(path) else open_model(path)[0]
    towers = [model.tower] if isinstance(model, DualEncoder) else list(model.towers)
    blueprint = model.blueprint
    if asked.tower >= len(towers):
        raise ConfigError(f"teacher {name}", f"has {len(towers)} towers", "`tower` counts from 0")
    resolution = asked.resolution or blueprint.scenes.get("video", blueprint.resolution)
    shown = Described(frames, resolution, (blueprint.towers[asked.tower],), {})
    try:
        return Teacher(towers[asked.tower], shown)
    except ValidationError as error:
        raise ConfigError(f"teacher {name}, resolution", str(error)) from error


@torch.no_grad()
def _try(name: str, teacher: Teacher) -> None:
    """Show a teacher a black clip.

    Raises:
        ConfigError: If it is cut into several views, the tower cannot see it, or shows no patches.
    """
    policy, where = teacher.blueprint.frames, f"teacher {name}"
    count = policy.count if isinstance(policy, Uniform) else 1
    plan = teacher.plan((256, 256), count)
    if len(plan.views) != 1 or plan.views[0].tower:
        raise ConfigError(
            where, f"a clip is cut into {len(plan.views)} views", "give it a `resolution: {kind: whole}`"
        )
    view = torch.zeros(1, count, 3, *plan.views[0].size, dtype=torch.uint8, device=teacher.device)
    try:
        seen = teacher.tower(view)
    except ValueError as error:
        raise ConfigError(
            where, f"cannot see the student's {count} frames: {error}", "let the student read others"
        ) from error
    if seen.grid.h * seen.grid.w == 1:
        raise ConfigError(
            where, "shows one vector for each frame, and no patches", "learn from a tower that shows patches"
        )


def lessons(
    teachers: Mapping[str, Teacher],
    cache: Cache,
    folder: Path,
    workers: int,
    contents: Mapping[Path, str],
) -> dict[str, Footage]:
    """Where teachers keep what they see, by name; whatever the student keeps, teachers keep features.

    Args:
        teachers: By name.
        cache: Number format and size.
        folder: Where caches lie.
        workers: Decoding processes.
        contents: What is in the files of clips, as far as it is known.
    """
    kept = cache.model_copy(update={"keep": "features"})
    return {
        name: Footage(
            DualEyes(teacher),
            kept,
            folder,
            tower_trains=False,
            needs_views=False,
            workers=workers,
            contents=contents,
        )
        for name, teacher in teachers.items()
    }


def introduce(
    objective: Any, shown: Mapping[str, Footage], items: Sequence[Item], seed: int, device: torch.device
) -> None:
    """Let an objective make what it needs to learn from its teachers.

    Args:
        objective: Prepared.
        shown: What teachers saw; all of `items` is kept.
        items: Clips of the stage.
        seed: Of the first weights.
        device: Where the objective goes.

    Raises:
        ConfigError: If a teacher sees clips in views of different sizes, which cannot be stacked.
    """
    torch.manual_seed(seed)
    for name, footage in shown.items():
        sizes = _sizes(footage, items)
        if len(sizes) > 1:
            found = f"sees clips in {len(sizes)} sizes, such as {sorted(sizes)[:2]}"
            raise ConfigError(f"teacher {name}", found, "give it a `resolution: {kind: whole}`")
        some = evenly(items, objective.teachers[name].sample)
        x = (footage.seen([item])[0].features[0].x for item in some)
        objective.introduce(name, *mean_and_deviation(x))
    objective.to(device)


def _sizes(footage: Footage, items: Sequence[Item]) -> set[tuple[int, int]]:
    """(height, width) of the views that a teacher sees, without reading what it saw."""
    assert footage.store is not None
    notes = [footage.store.note(footage.key(item)) for item in items]
    plans = [footage.model.plan(tuple(note["size"]), note["frames"])[0] for note in notes]
    return {view.size for plan in plans for view in plan.views}


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """So many of the items, evenly chosen; all, if there are no more."""
    step = max(1.0, len(items) / count)
    return [items[int(place * step)] for place in range(min(count, len(items)))]


def mean_and_deviation(features: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Of every channel, over all cells of all clips, one clip in memory at a time.

    Sums are merged as in Chan et al. 1979, "Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances", so that a mean far from zero costs no digits.

    Args:
        features: [..., C] each.

    Returns:
        Two [C] float32.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    for each in features:
        x = each.detach().cpu().double().flatten(0, -2)
        more, middle = count + len(x), x.mean(0)
        apart = middle - mean
        squares = squares + (x - middle).square().sum(0) + apart.square() * (count * len(x) / more)
        mean = mean + apart * (len(x) / more)
        count = more
    return mean.float(), (squares / count).sqrt().float()
