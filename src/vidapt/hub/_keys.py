"""Key tables: one name of a tensor to another, strictly.

A table is a list of rules tried in order. A key that no rule knows, two keys that become one, a tensor
that is missing, one too many, or one of the wrong shape: each is an error that names it. Nothing is ever
left at its random initial value because a name did not match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vidapt.errors import CheckpointError
from vidapt.models.assign import mismatches

_ADAPTED = re.compile(r".*\.(?:lora_[AB]|base_layer)\..*")
"""What peft calls an adapter, and the layer under it."""

Shape = tuple[int, ...]
T = TypeVar("T")


_MOST_UNKNOWN = 1000
"""Keys that a table does not know, after which the others are not looked up any more."""


@dataclass(frozen=True, slots=True)
class Rule:
    r"""One line of a key table.

    Attributes:
        pattern: Regular expression that the whole key must match.
        target: The other name, with `\1` for groups; None if the tensor is not needed.
        why: Why it is not needed, for the load report.
    """

    pattern: str
    target: str | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Renamed:
    """What a table made of a set of keys.

    Attributes:
        names: Old key to new key.
        ignored: Old keys that are not needed, and why.
    """

    names: Mapping[str, str]
    ignored: Mapping[str, str]


def rename(keys: Iterable[str], rules: Sequence[Rule], where: Path | str, family: str) -> Renamed:
    """Translate keys by a table.

    Args:
        keys: Names to translate.
        rules: Tried in order; the first that matches the whole key decides.
        where: Folder the keys come from, for errors.
        family: Whose table it is, for errors.

    Raises:
        CheckpointError: If a key matches no rule, or two keys get one name.
    """
    names: dict[str, str] = {}
    ignored: dict[str, str] = {}
    unknown: list[str] = []
    patterns = [(re.compile(rule.pattern), rule) for rule in rules]
    for key in sorted(keys):
        for pattern, rule in patterns:
            match = pattern.fullmatch(key)
            if match is None:
                continue
            if rule.target is None:
                ignored[key] = rule.why
            else:
                names[key] = match.expand(rule.target)
            break
        else:
            unknown.append(key)
            if len(unknown) == _MOST_UNKNOWN:
                break
    if unknown:
        raise CheckpointError(
            where,
            mismatches({f"belong to no part of a {family} model": unknown})
            + (" at least" if len(unknown) == _MOST_UNKNOWN else ""),
            "the files are of another family, or hold adapters or heads that must be merged or removed first",
        )
    _refuse_clashes(names, where)
    return Renamed(names, ignored)


def rewrite(
    state: Mapping[str, T], rules: Sequence[Rule], family: str, *, adapters: bool = False
) -> dict[str, T]:
    """A model's tensors under the names of another layout.

    Args:
        state: By our names.
        rules: From our names to the layout's.
        family: For errors.
        adapters: Whether the layout has a place for low-rank adapters. Elsewhere they must be merged before.

    Raises:
        CheckpointError: If a tensor has no place in that layout.
    """
    apart = [] if adapters else [key for key in state if _ADAPTED.fullmatch(key)]
    if apart:
        told = mismatches({f"are adapters, which have no place in {family}'s layout": apart})
        raise CheckpointError("state_dict", told, "merge them first")
    names = rename(state, rules, "state_dict", family).names
    return {names[key]: tensor for key, tensor in state.items()}


def _refuse_clashes(names: Mapping[str, str], where: Path | str) -> None:
    first: dict[str, str] = {}
    for old, new in names.items():
        if new in first:
            raise CheckpointError(
                where,
                f"two tensors, {first[new]!r} and {old!r}, are both the model's {new!r}",
                "the folder mixes two layouts; keep the files of one",
            )
        first[new] = old


def check(
    expected: Mapping[str, Shape],
    found: Mapping[str, Shape],
    origin: Mapping[str, str],
    where: Path | str,
) -> None:
    """Compare what a model needs with what was found.

    Args:
        expected: The model's keys and shapes.
        found: The checkpoint's tensors under the model's keys, and their shapes.
        origin: For each found key, the file and name it comes from, for errors.
        where: Folder of the checkpoint, for errors.

    Raises:
        CheckpointError: Naming every kind of mismatch, with the shapes expected and found.
    """
    missing = [f"{key} {list(shape)}" for key, shape in expected.items() if key not in found]
    unexpected = [
        f"{key} {list(shape)} ({origin[key]})" for key, shape in found.items() if key not in expected
    ]
    wrong = [
        f"{key}: expected {list(expected[key])}, found {list(shape)} ({origin[key]})"
        for key, shape in found.items()
        if key in expected and shape != expected[key]
    ]
    problems = mismatches(
        {
            "are missing": missing,
            "have no place in the model": unexpected,
            "have the wrong shape": wrong,
        }
    )
    if problems:
        raise CheckpointError(
            where,
            problems,
            "config.json and the weights disagree, or a file was left out; fetch the folder again",
        )
