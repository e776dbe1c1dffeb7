"""What a user writes about a judge, and about options of protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from vidapt.chat.secrets import refuse_keys
from vidapt.chat.settings import Budget, Who, under, unpriced
from vidapt.errors import ConfigError
from vidapt.strict import Strict
from vidapt.yaml_lines import parse_yaml, validated


class Judging(Strict):
    """A judge, as a file describes it.

    Attributes:
        judge: Who is asked; None where only options of protocols are given.
        greedy: Whether temperature 0 is asked for; there are servers that take no temperature.
        max_tokens: Longest reply.
        seed: Of its replies.
        tries: How often a question is put in all, where a reply is refused or cannot be read.
        budget: Where it stops.
        give_up: Questions in a row that come to nothing before all ends.
        frozen: Items with known verdicts that are judged each time, to see whether the judge has changed.
        drift: Share of frozen items whose verdicts may have changed since they were first judged.
        protocols: Options of protocols, by their names.
    """

    judge: Who | None = None
    greedy: bool = True
    max_tokens: int = Field(1024, ge=16, le=65_536)
    seed: int = Field(0, ge=0, lt=2**31)
    tries: int = Field(3, ge=1, le=10)
    budget: Budget = Budget()
    give_up: int = Field(8, ge=1, le=1000)
    frozen: int = Field(50, ge=0, le=50)
    drift: float = Field(0.1, ge=0, le=1)
    protocols: dict[str, dict[str, Any]] = Field({})


def read_judging(path: Path) -> Judging:
    """Read a judge's file.

    Raises:
        ConfigError: Naming every mistake with its line; or where a key may stand, which is not shown.
    """
    data, lines = parse_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(path, "describes no judge", "write `judge: {url: ..., model: ...}`")
    refuse_keys(path, data, lines)
    found = validated(Judging, data, path, lines)
    if found.judge is None:
        return found
    if found.budget.money is not None and unpriced(found.judge):
        raise ConfigError(path, "`budget.money` needs `judge.price`", "say what a million tokens cost")
    return found.model_copy(update={"judge": under(path.parent, found.judge)})
