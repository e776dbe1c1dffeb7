"""How sources are mixed and steps are made up, as data.

Importing this module imports no torch.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field, model_validator

from vidapt.strict import Strict

_Side = Annotated[int, Field(ge=14, le=16_384)]


class Mix(Strict):
    """How often the clips of each source are visited in an epoch.

    `size` visits every clip once. `weights` visits those of a source `weight` times (0.5: half of them in one
    epoch, the others in the next). Under `ratio` and `temperature` an epoch has as many visits as there are
    clips: in the ratio of the sources' weights, or of `clips ** (1 / temperature) * weight` (Conneau et al.
    2019, arXiv 1911.02116). A source goes through all of its clips before one comes again, and its visits
    are spread evenly over the epoch.

    Attributes:
        by: What decides.
        temperature: 1 is by size; the higher, the more alike are the sources' shares.
    """

    by: Literal["size", "weights", "ratio", "temperature"] = "size"
    temperature: float = Field(1.0, gt=0, le=1000)

    @model_validator(mode="after")
    def _temperature_is_used(self) -> Mix:
        if self.by != "temperature" and self.temperature != 1.0:
            raise ValueError("`temperature` goes with `by: temperature`")
        return self


class Sizes(Strict):
    """Groups of clips by the size of their pictures, which never share a step.

    A sample's size is the median over its clips of the side of a square as large as their frames, and its
    group is the one whose side is nearest as a ratio; text alone goes with the smallest.

    Attributes:
        groups: Sides in pixels, rising.
        order: Whether groups come mixed, or one after another (`curriculum`), each with all of its epochs.
        unify: Frames are resized to squares before they are cut: to the side of their `group`, or all to one.
    """

    groups: tuple[_Side, ...] = ()
    order: Literal["mixed", "curriculum"] = "mixed"
    unify: Literal["group"] | _Side | None = None

    @model_validator(mode="after")
    def _groups_fit(self) -> Sizes:
        if any(low >= high for low, high in itertools.pairwise(self.groups)):
            raise ValueError(f"`groups` must rise, got {list(self.groups)}")
        if not self.groups and (self.order == "curriculum" or self.unify == "group"):
            raise ValueError("`order: curriculum` and `unify: group` need `groups`, such as [224, 336, 448]")
        return self
