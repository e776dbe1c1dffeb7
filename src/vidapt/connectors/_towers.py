"""How many towers a connector reads."""

from __future__ import annotations


def one_tower(kind: str, width_in: int | tuple[int, ...]) -> int:
    """The width of the only tower.

    Args:
        kind: Of the connector, for errors.
        width_in: As a model gives it: a number, or one for each of several towers.

    Raises:
        ValueError: If there are several.
    """
    if isinstance(width_in, int):
        return width_in
    raise ValueError(f"{kind} reads one tower, got {len(width_in)} with widths {width_in}")
