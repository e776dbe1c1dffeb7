"""Models that score, and what each of them has learned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vidapt.errors import ConfigError
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.nouns import Clip
from vidapt.recipe import Reads
from vidapt.training.footprints import contents_of
from vidapt.video import Uniform


@dataclass(frozen=True)
class Arm:
    """One way to score clips.

    Attributes:
        name: What it is called.
        model: Name or path of the model for a fold; 0 where there are none.
        homes: The fold of every clip; empty where there are none.
        frames: How many frames are read instead of what the model reads.
        side: The longest side of pictures, in pixels, if they are read smaller than they are.
    """

    name: str
    model: Callable[[int], str | Path]
    homes: Mapping[Clip, int] = field(default_factory=dict)
    frames: int | None = None
    side: int | None = None

    def fold(self, clip: Clip) -> int:
        """The fold of a clip; 0 where there are none."""
        return self.homes.get(clip, 0)


@dataclass(frozen=True)
class Opened:
    """A model, and the contents of the clips that its run learned from."""

    engine: Engine
    learned: frozenset[str]


def open_arm(arm: Arm, fold: int, device: str) -> Opened:
    """Open what scores a fold.

    Raises:
        CheckpointError: If there is no such model, or it compares texts and writes none.
        ConfigError: If its number of frames cannot be changed.
    """
    name = arm.model(fold)
    engine = load(name, device=device)
    if arm.frames is not None:
        policy = engine.model.blueprint.frames
        if not isinstance(policy, Uniform):
            raise ConfigError(
                "frames", f"{name} takes frames by {policy.policy!r}", "only `uniform` has a number of them"
            )
        engine.model.read_otherwise(Reads(frames=policy.model_copy(update={"count": arm.frames})))
    engine.side = arm.side
    path = Path(name)
    runs = [path, *path.absolute().parents[:2]]
    learned = next((found for run in runs if (found := contents_of(run))), set())
    return Opened(engine, frozenset(learned))
