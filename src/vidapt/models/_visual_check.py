"""Whether towers, connector and language model go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.recipe import Blueprint


def check_levels(towers: Any, depths: Sequence[int]) -> None:
    """See that the connector adds behind as many language layers as the tower gives levels.

    Raises:
        ConfigError: If it does not.
    """
    levels = [level for tower in towers for level in getattr(tower, "levels", ())]
    if len(levels) != len(depths):
        raise ConfigError(
            "blueprint.connector.depths",
            f"names {len(depths)} language layers, the tower gives {len(levels)} inner levels: {levels}",
            "name one language layer for each of the tower's `levels`",
        )


def made_connector(blueprint: Blueprint, towers: Any, width_out: int) -> Any:
    """The connector between towers and a language model.

    Args:
        blueprint: Which.
        towers: Made already.
        width_out: D, of the language model.

    Raises:
        ConfigError: If it does not fit its towers.
    """
    widths: tuple[int, ...] = tuple(tower.width for tower in towers)
    width_in = widths[0] if len(widths) == 1 else widths
    try:
        return parts.build("connectors", blueprint.connector, width_in=width_in, width_out=width_out)
    except ValidationError:
        raise
    except ValueError as error:  # of a connector that does not fit its towers
        raise ConfigError(
            "blueprint.connector", str(error), "give it the towers that it reads, or use another connector"
        ) from error
