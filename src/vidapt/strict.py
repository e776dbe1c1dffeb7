"""What all descriptions of models and training have in common, and the paths in them.

Importing this module imports no torch.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

_LONGEST_PATH, _LONGEST_NAME = 4096, 255
"""Bytes that Linux allows a path, and a name in it."""

_NUMBERS = frozenset({int, float})
_P = TypeVar("_P", str, Path)


class Known(BaseModel):
    """Immutable. Unknown keys are errors, and so are numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Strict(Known):
    """The same, with true in place of a number an error too."""

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        wanted = set(_leaves(cls.model_fields[str(info.field_name)].annotation))
        if wanted & _NUMBERS and not any(map(_may_hold_truth, wanted)):
            return no_truth(value)
        return value


def no_truth(value: Any) -> Any:
    """Refuse true and false, alone or inside of what a number is to be read from.

    Pydantic would read them as 1 and 0, as Python does.

    Raises:
        ValueError: If there is one.
    """
    if _has_truth(value):
        raise ValueError("a number is needed, not true or false")
    return value


def _leaves(annotation: Any) -> Iterator[type]:
    """The types that an annotation is made of."""
    inner = typing.get_args(annotation)
    for argument in inner:
        yield from _leaves(argument)
    if not inner and isinstance(annotation, type):
        yield annotation


def _may_hold_truth(leaf: type) -> bool:
    return leaf is Any or leaf is object or issubclass(leaf, bool | BaseModel)


def _has_truth(value: Any) -> bool:
    """Whether a value, or one within it, is true or false."""
    if isinstance(value, Mapping):
        value = list(value.values())
    return any(map(_has_truth, value)) if isinstance(value, list | tuple) else isinstance(value, bool)


def _possible(path: _P) -> _P:
    """See that no file system is asked for what it cannot have, which would be an error without a place."""
    try:
        size = len(str(path).encode())
    except UnicodeEncodeError:
        raise ValueError("is no path that can be written down: it is not UTF-8") from None
    if "\0" in str(path):
        raise ValueError("is no path: it holds a NUL character")
    longest = max((len(part.encode()) for part in Path(path).parts), default=0)
    if size > _LONGEST_PATH or longest > _LONGEST_NAME:
        raise ValueError(
            f"is no path: longer than {_LONGEST_PATH} bytes, or a name in it than {_LONGEST_NAME}"
        )
    return path


Place = Annotated[Path, AfterValidator(_possible)]
"""A path that a file system can have."""

ModelName = Annotated[str, Field(min_length=1), AfterValidator(_possible)]
"""A model by its name or its path."""


class Weights(Strict):
    """Whose weights a part of a new model begins with; a name alone stands for `{from: NAME}`.

    Attributes:
        source: The model's name, written `from`: as for a recipe's `start`, or a folder or file of a part
            that is published alone.
        part: Which part of it, such as `towers.1`; None is the obvious one.
    """

    source: ModelName = Field(alias="from")
    part: str | None = Field(None, pattern=r"^(tower|towers\.\d{1,2}|connector|language|text)$")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"from": str(value)} if isinstance(value, str | Path) else value

    @model_serializer
    def _as_written(self) -> str | dict[str, str]:
        return self.source if self.part is None else {"from": self.source, "part": self.part}
