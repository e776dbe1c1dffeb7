"""What can be claimed about a line."""

from __future__ import annotations

from vidapt.worlds.phrases import Noun

CLAIMS: dict[str, tuple[Noun, Noun]] = {
    "enter": ("thing", "belt"),
    "leave": ("thing", "belt"),
    "rides": ("thing", "belt"),
    "first_out": ("thing", ""),
    "overtake": ("thing", "thing"),
    "touch": ("thing", "thing"),
    "hold": ("thing", ""),
    "fall": ("thing", ""),
    "push": ("thing", "belt"),
    "pick": ("thing", ""),
    "flaw": ("thing", "defect"),
    "sound": ("thing", ""),
    "size": ("thing", "size"),
    "absent": ("thing", ""),
    "stop": ("belt", ""),
    "start": ("belt", ""),
    "runs": ("belt", "way"),
    "fastest": ("belt", ""),
    "count": ("number", ""),
    "belts": ("number", ""),
    "none_flawed": ("", ""),
    "no_touch": ("", ""),
    "no_fall": ("", ""),
    "no_stop": ("", ""),
    "idle": ("", ""),
    "quiet": ("", ""),
}
"""Kinds of claims, and what their subject and their object are."""
