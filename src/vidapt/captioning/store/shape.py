"""Captions that are to be JSON of a schema: whether they are, and asking once more."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError, VidaptError
from vidapt.json_fits import SchemaError, check_schema, misfit_of
from vidapt.nouns import MEDIA

_SHOWN = 200
"""Letters of an answer that a model is told when it is asked once more."""


class SchemaViolation(VidaptError):  # noqa: N818 - it names what is wrong with an answer, as rows have it
    """An answer that is not of the schema, nor is the one that was asked for after it."""


@dataclass(frozen=True)
class Schema:
    """What an answer is to be.

    Attributes:
        value: A schema that `json_fits` knows.
    """

    value: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Schema:
        """Read a schema, a JSON object.

        Raises:
            ConfigError: If it cannot be read, or says what is not checked.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(path, f"cannot be read ({error.strerror})", "check the path") from None
        except (ValueError, RecursionError) as error:
            raise ConfigError(path, f"is no JSON ({error})", "write a JSON schema") from None
        try:
            check_schema(value)
        except SchemaError as error:
            raise ConfigError(path, str(error), "write what docs/caption.md lists") from None
        return cls(value)

    def mistake(self, text: str) -> str | None:
        """What is wrong with an answer; None if nothing is."""
        return misfit_of(text, self.value)

    def once_more(self, question: str, text: str, reason: str) -> str:
        """The question as it is asked after an answer that was not of the schema."""
        schema = json.dumps(self.value, ensure_ascii=False)
        shown = text.replace(MEDIA, "")[:_SHOWN]  # a mark would be taken for the clip's place
        return (
            f"{question}\nThe answer {shown!r} is not usable: {reason}. "
            f"Answer with JSON alone, of this schema: {schema}"
        )
