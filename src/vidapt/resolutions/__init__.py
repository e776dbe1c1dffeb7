"""How a frame of any size becomes views a tower can take: plan in integers, cut, stitch.

Beside the parts, which are found by their names, this room offers `choose_grid`, the rule of AnyRes, and
`Prune`, what resolutions are told of tokens that are not read.
"""

from vidapt.resolutions._anyres_grid import choose_grid
from vidapt.resolutions._prune import Prune

__all__ = ["Prune", "choose_grid"]
