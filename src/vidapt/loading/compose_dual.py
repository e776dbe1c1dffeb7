"""A new dual encoder out of parts of others: its tower, its text tower, and their ways into one space."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from vidapt.loading._fill import fill
from vidapt.loading._mistaken import At, Mistakes
from vidapt.loading._settle import WEIGHTS, FieldError, settled_text
from vidapt.loading._sources import TOWER
from vidapt.loading._taken import Sources, Taken, only, take_tower
from vidapt.models.dual_encoder import DualEncoder
from vidapt.recipe import DualBlueprint, DualParts, Spec, Text

_SEES, _READS, _SCALE = "visual_projection.weight", "text_projection.weight", "logit_scale"
"""How the tower's and the text tower's vectors get into one space, and the factor on cosines there."""
_WITHIN = "projection.weight"
"""The first of them, in a tower that projects by itself."""


@dataclass(frozen=True)
class DualPlan:
    """A new dual encoder before any weight is put in place.

    Attributes:
        blueprint: With every part written out.
        taken: The parts that begin with others' weights.
    """

    blueprint: DualBlueprint
    taken: tuple[Taken, ...]

    @property
    def reading(self) -> Taken | None:
        """The text tower, if it begins with another one's weights."""
        return next((one for one in self.taken if one.part == "text"), None)

    def make(self, blueprint: DualBlueprint, *, seed: int) -> tuple[DualEncoder, dict[str, Any]]:
        """Make the model.

        Args:
            blueprint: The plan's; with a vocabulary, where the text tower begins at random.
            seed: Of what begins at random.

        Returns:
            The model in evaluation mode, and what became of every tensor; see `fill`.

        Raises:
            CheckpointError: If a source is damaged, or does not hold what describes it.
        """
        torch.manual_seed(seed)
        model = DualEncoder(blueprint)
        return model.eval(), fill(model, self.taken, model.state_dict(), torch.float32)


def is_composed(dual: DualParts) -> bool:
    """Whether any part of a dual encoder begins with another one's weights."""
    return WEIGHTS in dual.tower or dual.text.weights is not None


def plan(dual: DualParts, sources: Sources, at: At) -> DualPlan:
    """Settle what every part is.

    The projections come along with their towers where these come from dual encoders of this one's width (and
    pooling), and the factor on cosines where both towers come from one.

    Args:
        dual: As a recipe has it.
        sources: Finds them.
        at: Names places in the recipe.

    Raises:
        ConfigError: Listing every mistake with its place, what was found and how to mend it.
    """
    mistakes, taken = Mistakes(at), list[Taken]()
    tower, text, width = dual.tower, dual.text, dual.width
    with mistakes.of("dual", "tower"):
        tower = take_tower(tower, TOWER, (0, 1), sources, taken, pooled=True)
    with mistakes.of("dual", "text"):
        text = _text(dual, sources, taken)
    mistakes.tell()
    with mistakes.of("dual"):
        width = _width(dual, taken)
        _fits(tower, dual.pool, width)
    mistakes.tell()
    fields = {name: getattr(dual, name) for name in ("pool", "resolution", "frames")}
    whole = DualBlueprint.model_validate({"tower": tower, "text": dict(text), "width": width, **fields})
    return DualPlan(whole, tuple(_coming_along(one, whole, taken) for one in taken))


def _text(dual: DualParts, sources: Sources, taken: list[Taken]) -> Text:
    if dual.text.weights is None:
        return Text(arch=dual.text.arch, kept=dual.text.kept)
    source, part = sources.of(dual.text.weights)
    whole = source.whole if isinstance(source.whole, DualBlueprint) else None
    found = only(source, part, "text", whole and whole.text)
    text = settled_text(dual.text, found)
    taken.append(Taken("text", "text", source))
    return text


def _width(dual: DualParts, taken: list[Taken]) -> int:
    if dual.width is not None:
        return dual.width
    widths = {
        one.source.name: one.source.whole.width
        for one in taken
        if isinstance(one.source.whole, DualBlueprint)
    }
    if len(set(widths.values())) == 1:
        return next(iter(widths.values()))
    found = ", ".join(f"{width} of {name}" for name, width in widths.items()) or "no source has one"
    raise FieldError("width", f"is not given: {found}", "give the width of the space in which both meet")


def _fits(tower: Spec, pool: str, width: int) -> None:
    """A tower that projects by itself decides the width."""
    own = tower.get("arch", {}).get("projection_dim")
    if tower.get("kind") == "long_clip" and pool == "tower" and own != width:
        raise FieldError("width", f"is {width}, the tower projects to {own}", "leave it out")


def _coming_along(one: Taken, whole: DualBlueprint, taken: list[Taken]) -> Taken:
    theirs = one.source.whole
    if not isinstance(theirs, DualBlueprint) or theirs.width != whole.width:
        return one
    if one.part == "text":
        both = all(other.source is one.source for other in taken) and len(taken) > 1
        return dataclasses.replace(one, also={_READS: _READS, **({_SCALE: _SCALE} if both else {})})
    if theirs.pool != whole.pool or (whole.pool == "tower" and whole.tower["kind"] == "long_clip"):
        return one
    within = theirs.pool == "tower" and theirs.tower["kind"] == "long_clip"
    return dataclasses.replace(one, also={_SEES: f"{TOWER}.{_WITHIN}" if within else _SEES})
