"""One tower learns to show what several frozen ones show, each through a small network of its own.

Source: Theia (Shang et al. 2024, "Theia: Distilling Diverse Vision Foundation Models for Robot Learning",
arXiv 2407.20179) and its published code: only tokens with a place are taught, not the class token; teachers'
features are brought to mean 0 and deviation 1 in every channel; 0.9 parts of cosine and 0.1 parts of
smooth-L1, averaged over teachers. There the cosine is one for each picture, over all of its tokens at once;
`cosine_of: cell` compares token by token. Theia learns from pictures: that a clip's frames count as pictures,
and that grids are fitted in time as in space, is ours.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.objectives._candidates import exact, no_halves
from vidapt.objectives._pairs import LEVEL, Pairs, Term
from vidapt.objectives._translate import Translator
from vidapt.parts import PartConfig

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
"""What a teacher may be called."""

CHANCE = "chance"
"""The log has it beside the teachers."""

STILL = 1e-6
"""A channel with a smaller deviation does not change, and is not blown up."""


class Teacher(PartConfig):
    """A frozen tower to learn from.

    Attributes:
        path: The model it belongs to, as for a recipe's `start`: a dual encoder or a video-language model.
        tower: Which of its towers.
        resolution: Frames to the tower's view; None is the model's own.
        weight: Of what is learned from it, beside the other teachers.
        sample: Mean and deviation of its features are taken from so many clips of the stage, evenly chosen.
    """

    path: str
    tower: int = Field(0, ge=0)
    resolution: dict[str, Any] | None = None
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    sample: int = Field(256, ge=1)


class Part(nn.Module):
    """Distillation of frozen teachers.

    Args:
        cfg: Teachers, what is compared, and the networks between.

    Attributes:
        teachers: By name.
        levels: Where the student's patches are taken.
        pupils: What was made for each teacher by `introduce`.
    """

    class Config(PartConfig):
        """Teachers, what is compared, and the networks between.

        Attributes:
            teachers: By a name of your choice; a path stands for a teacher with no other fields.
            cosine: Share of the cosine in the loss; the rest is smooth-L1.
            cosine_of: What one cosine compares: all cells of a `frame` at once, or each `cell`.
            patches: Level of the student's patches.
            depth: Convolutions of each teacher's network; 0 leaves a norm and a linear map.
            width: Channels between them; None is the student's width.
            kernel: Cells that a convolution spans; 1 makes a perceptron of it.
        """

        teachers: dict[str, Teacher] = Field(min_length=1)
        cosine: float = Field(0.9, ge=0, le=1)
        cosine_of: Literal["frame", "cell"] = "frame"
        patches: str = Field("encoder", pattern=LEVEL)
        depth: int = Field(2, ge=0)
        width: int | None = Field(None, ge=1)
        kernel: Literal[1, 3, 5] = 3

        @field_validator("teachers", mode="before")
        @classmethod
        def _paths(cls, teachers: Any) -> Any:
            if not isinstance(teachers, dict):
                return teachers
            return {name: {"path": one} if isinstance(one, str) else one for name, one in teachers.items()}

        @field_validator("teachers")
        @classmethod
        def _named(cls, teachers: dict[str, Teacher]) -> dict[str, Teacher]:
            odd = [name for name in teachers if not re.fullmatch(NAME, name) or name == CHANCE]
            if odd:
                raise ValueError(f"teachers' names are letters, digits, - and _, and not {CHANCE}; got {odd}")
            return teachers

    tells_apart = False
    """It compares no clip with another one."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.teachers = dict(cfg.teachers)
        self.levels: list[tuple[str, str]] = [(cfg.patches, "encoder")]
        self.pupils = nn.ModuleDict()
        self._width = 0

    def prepare(self, model: Any) -> None:
        """Find the width of the student's patches; teachers are yet to be introduced.

        Args:
            model: The dual encoder.

        Raises:
            ConfigError: If its tower shows no patches.
        """
        grid = model.tower.grid(1, model.tower.size)
        if grid.cells == 1:
            raise ConfigError("distill", "the video tower shows no patches", "use a tower that does")
        self._width = model.blueprint.width if self.cfg.patches == "projected" else model.tower.width

    def introduce(self, name: str, mean: Tensor, std: Tensor) -> None:
        """Make what is needed to learn from a teacher; its weights are drawn from torch's random state.

        Args:
            name: One of `teachers`.
            mean: [C] of its features.
            std: [C], their deviation.
        """
        hidden = self.cfg.width or self._width
        translator = Translator(
            self._width, len(mean), hidden=hidden, depth=self.cfg.depth, kernel=self.cfg.kernel
        )
        self.pupils[_key(name)] = _Pupil(translator, mean, std)

    def forward(self, pairs: Pairs) -> Term:
        """The loss, with gradients to the student's patches and the networks.

        Args:
            pairs: Of this process; texts do not matter.

        Returns:
            The term. Its chance level is what it costs to predict every teacher's mean, whose cosine counts
            as 0. Its gauges, for each teacher: the value and its `/chance`; the mean `/cosine`; and
            `/cosine_other`, the cosine with what the teacher saw of another clip. A student that has only
            learned what all clips have in common has as much of the one as of the other.

        Raises:
            ConfigError: If a teacher was never introduced.
        """
        cells = _cells(pairs, self.cfg.patches)
        total = sum(teacher.weight for teacher in self.teachers.values())
        value, chance, gauges = cells.new_zeros(()), 0.0, dict[str, float]()
        for name, teacher in self.teachers.items():
            told = self._learned(pairs, name, cells)
            value = value + teacher.weight / total * told.value
            chance += teacher.weight / total * told.chance
            gauges |= {name: float(told.value.detach()), f"{name}/chance": told.chance}
            gauges |= {f"{name}/{key}": number for key, number in told.gauges.items()}
        return Term(value, chance, gauges)

    def _learned(self, pairs: Pairs, name: str, cells: Tensor) -> Term:
        """What is learned from one teacher."""
        if _key(name) not in self.pupils:
            raise ConfigError(f"teacher {name}", "was not introduced to the student")
        pupil: Any = self.pupils[_key(name)]
        seen = pairs.taught(name)
        guessed = pupil.translator(cells, seen.grid)
        with no_halves(guessed.device):
            guess, truth = exact(guessed), pupil.normalised(seen.x.detach())
            cosine = self._cosine(guess, truth)
            value = self._loss(cosine, F.smooth_l1_loss(guess, truth))
            blind = self._loss(torch.zeros_like(cosine), F.smooth_l1_loss(torch.zeros_like(truth), truth))
            gauges = {"cosine": float(cosine.detach())}
            if len(truth) > 1:
                gauges["cosine_other"] = float(self._cosine(guess.detach(), truth.roll(1, 0)))
        return Term(value, float(blind), gauges)

    def _loss(self, cosine: Tensor, smooth: Tensor) -> Tensor:
        return self.cfg.cosine * (1 - cosine) + (1 - self.cfg.cosine) * smooth

    def _cosine(self, guess: Tensor, truth: Tensor) -> Tensor:
        """Mean cosine of [N, t, h, w, C] each."""
        first = 2 if self.cfg.cosine_of == "frame" else 4
        return F.cosine_similarity(guess.flatten(first), truth.flatten(first), dim=-1).mean()


class _Pupil(nn.Module):
    """What belongs to one teacher: a network, and mean and deviation of its features."""

    mean: Tensor
    scale: Tensor

    def __init__(self, translator: Translator, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.translator = translator
        self.register_buffer("mean", mean)
        self.register_buffer("scale", torch.where(std > STILL, std, torch.ones_like(std)))

    def normalised(self, x: Tensor) -> Tensor:
        """[..., C] with mean 0 and deviation 1 over the clips that were measured."""
        x = exact(x)
        return (x - self.mean.to(x)) / self.scale.to(x)


def _cells(pairs: Pairs, level: str) -> Tensor:
    """[N, t, h, w, C]: patches with a place; others stand in front of them."""
    if pairs.grid is None:
        raise ValueError("what is taught has a place, and the patches' grid is not known")
    grid, patches = pairs.grid, pairs.patches(level)
    return patches[:, -grid.cells :].reshape(len(patches), grid.t, grid.h, grid.w, -1)


def _key(name: str) -> str:
    """A module's name that no attribute has."""
    return f"of_{name}"


def tiny() -> Part:
    """The smallest sensible instance."""
    return Part(Part.Config(teachers={"home": Teacher(path="billiards-home")}, depth=1))
