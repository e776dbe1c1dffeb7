"""Numbers that say how clean a map is, and whether it lies on the thing it should lie on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vidapt.measure.look.area import WHOLE, Area

OUTLYING = 3.0
"""Standard deviations above the mean from which a patch's norm is high."""


@dataclass(frozen=True)
class Noise:
    """How clean a map is.

    Attributes:
        entropy: 0 where each frame's attention is on one patch, 1 where it is even.
        high_norm: Share of the map on patches of outlying norm. Vision transformers keep global notes on
            patches of the background, whose norm grows; attention on them says nothing about the place
            (Darcet et al. 2023, "Vision transformers need registers", arXiv 2309.16588).
        patches: How many such patches there are.
    """

    entropy: float
    high_norm: float
    patches: int

    def line(self) -> str:
        """In words, for under a picture."""
        return f"noise: entropy {self.entropy:.2f}, on high-norm patches {100 * self.high_norm:.1f} %"


def noise(weights: Tensor, norms: Tensor) -> Noise:
    """How clean a map is.

    Args:
        weights: [T, h, w], not negative.
        norms: [T, h, w]: length of each patch's state.
    """
    high = outlying(norms)
    total = float(weights.double().sum())
    share = float(weights.double()[high].sum()) / total if total > 0 else 0.0
    return Noise(entropy(weights), share, int(high.sum()))


def entropy(weights: Tensor) -> float:
    """Entropy of a map within its frames, in shares of the largest possible.

    Args:
        weights: [T, h, w], not negative. A frame counts by its share of the whole.

    Returns:
        0..1; 0 for frames of one patch, 1 for a map without any weight.
    """
    frames = weights.double().flatten(1)
    total = float(frames.sum())
    if total <= 0:
        return 1.0
    if frames.shape[1] == 1:
        return 0.0
    mass = frames.sum(1)
    shares = frames / mass.clamp_min(1e-300)[:, None]
    each = -torch.special.xlogy(shares, shares).sum(1) / math.log(frames.shape[1])
    return min(1.0, max(0.0, float((each * mass).sum()) / total))


def outlying(norms: Tensor) -> Tensor:
    """Patches whose norm lies more than three standard deviations above the mean of the clip.

    Args:
        norms: [T, h, w].

    Returns:
        [T, h, w] bool.
    """
    exact = norms.double()
    return exact > exact.mean() + OUTLYING * exact.std(correction=0)


@dataclass(frozen=True)
class Localisation:
    """Whether a map lies on a thing whose place is known.

    Attributes:
        share: Share of the map's weight near the thing, over the frames that show it.
        chance: The same for an even map: the share of patches that are near.
        hits: Share of those frames whose hottest patch is near.
        frames: How many frames show the thing.
    """

    share: float
    chance: float
    hits: float
    frames: int


def localisation(
    weights: Tensor, track: Tensor, radius: float, size: tuple[int, int], area: Area = WHOLE
) -> Localisation:
    """How much of a map lies near a thing.

    Args:
        weights: [T, h, w], not negative.
        track: [T, 3]: whether the thing is shown (above 0.5), its x and its y as shares of the picture's
            width and height, for the frames of the map.
        radius: How far from the thing a patch's middle may be, as a share of the picture's height. The
            patch in which the thing lies is near in any case.
        size: (height, width) of the picture; only their ratio matters.
        area: What part of the picture the map covers.

    Returns:
        The shares; nan where no frame shows the thing, or the map has no weight there.

    Raises:
        ValueError: If the shapes do not fit, or the radius is negative.
    """
    if weights.ndim != 3 or track.shape != (len(weights), 3) or radius < 0:
        raise ValueError(f"a map {tuple(weights.shape)}, a track {tuple(track.shape)}, a radius of {radius}")
    shown = track[:, 0] > 0.5
    count = int(shown.sum())
    near = _near(weights.shape[1:], track[shown, 1:].double(), radius, size, area)
    here = weights[shown].double()
    if count == 0 or float(here.sum()) <= 0:
        return Localisation(math.nan, math.nan, math.nan, count)
    hottest = here.flatten(1).argmax(1, keepdim=True)
    return Localisation(
        share=float((here * near).sum() / here.sum()),
        chance=float(near.double().mean()),
        hits=float(near.flatten(1).gather(1, hottest).double().mean()),
        frames=count,
    )


def _near(cells: torch.Size, places: Tensor, radius: float, size: tuple[int, int], area: Area) -> Tensor:
    """[F, h, w] bool: patches near [F, 2] places."""
    h, w = cells
    middle_x = area.left + (torch.arange(w, dtype=torch.float64) + 0.5) / w * area.width
    middle_y = area.top + (torch.arange(h, dtype=torch.float64) + 0.5) / h * area.height
    off_x = (middle_x - places[:, :1])[:, None, :]
    off_y = (middle_y - places[:, 1:])[:, :, None]
    round_it = (off_x * size[1] / size[0]) ** 2 + off_y**2 <= radius**2
    return round_it | (_holds(off_x, area.width / w / 2) & _holds(off_y, area.height / h / 2))


def _holds(off: Tensor, half: float) -> Tensor:
    """Whether a place lies within `half` of a middle; one on a border lies on its far side."""
    return (off > -half) & (off <= half)
