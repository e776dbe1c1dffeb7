"""How a frame of any size becomes views a tower can take: plan in integers, cut, stitch.

Beside the parts, which are found by their names, this room offers `choose_grid`, the rule of AnyRes.
"""

from vidapt.resolutions._anyres_grid import choose_grid

__all__ = ["choose_grid"]
