"""The field: sizes in metres, origin at the near left corner, x to the right, y away; and what lies on it."""

from __future__ import annotations

WIDTH = 1.78
HEIGHT = 1.0
FPS = 10
FRAMES = 36
END_S = (FRAMES - 1) / FPS

COLOURS = ("white", "yellow", "blue", "red", "purple", "orange", "green", "black")
"""No two things of a clip have one colour; a thing's slot is its colour's place, as with billiard balls."""
KINDS = (
    "disc",
    "square",
    "triangle",
    "ring",
    "cross",
    "bar",
    "diamond",
    "star",
    "lens",
    "half",
    "corner",
    "moon",
    "heart",
    "dart",
)
TURNING = ("triangle", "cross", "bar", "star", "half", "corner", "dart", "heart", "moon")
"""Kinds of which a person sees that they turn."""
THIN = ("ring", "cross", "bar", "corner", "moon")
"""Kinds that have no room for a rim."""
TEXTURES = ("plain", "striped", "spotted", "halved", "rimmed")
SIZES = {"small": 0.075, "middling": 0.11, "large": 0.155}
"""Radius in metres."""
SIDES = ("left", "right", "near", "far")
