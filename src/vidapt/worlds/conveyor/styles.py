"""The styles by name."""

from __future__ import annotations

from vidapt.worlds.conveyor._depot import DEPOT
from vidapt.worlds.conveyor._plant import PLANT
from vidapt.worlds.conveyor._works import WORKS

STYLES = {style.name: style for style in (WORKS, PLANT, DEPOT)}
