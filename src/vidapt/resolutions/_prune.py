"""What all resolutions have in common that may leave visual tokens out."""

from __future__ import annotations

from vidapt.parts import PartConfig
from vidapt.recipe import Prune


class PrunedConfig(PartConfig):
    """Base of the `Config` of resolutions whose views go through the connector one by one.

    Attributes:
        prune: Which tokens of footage are left out; None reads all of them.
    """

    prune: Prune | None = None
