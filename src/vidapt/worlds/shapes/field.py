"""The field: sizes in metres, origin at the near left corner, x to the right, y away; and what lies on it."""

from __future__ import annotations

WIDTH = 1.78
HEIGHT = 1.0
FPS = 10
FRAMES = 36
END_S = (FRAMES - 1) / FPS

COLOURS = ("white", "yellow", "blue", "red", "purple", "orange", "green", "black")
"""No two things of a clip have one colour; a thing's slot is its colour's place, as with balls of billiards."""
KINDS = (
    "disc",
    "square",
    "triangle",
    "ring",
    "cross",
    "bar",
    "diamond",
    "star",
    "oval",
    "half",
    "corner",
    "moon",
    "heart",
    "arrow",
)
TURNING = ("triangle", "cross", "bar", "star", "half", "corner", "arrow", "heart", "moon")
"""Kinds of which a person sees that they turn."""
TEXTURES = ("plain", "striped", "spotted", "halved", "rimmed")
SIZES = {"small": 0.075, "middling": 0.11, "large": 0.155}
"""Radius in metres."""
SIDES = ("left", "right", "near", "far")
