"""Where labels come from: what teachers saw and said, as `vidapt label` wrote it down."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ValidationError

from vidapt.cleaning.inputs import PROVENANCE
from vidapt.errors import FormatError
from vidapt.files import exists
from vidapt.nouns import Sample
from vidapt.teaching.rows import LabelRow, read_rows


def plain(text: str) -> str:
    """Any text, as JSON in bytes can hold it: half surrogate pairs are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


Text = Annotated[str, AfterValidator(plain)]
"""Any text, made plain."""


class Voice(BaseModel):
    """What one of several voices said; `agreement` with the others."""

    teacher: Text
    text: Text
    agreement: float | None = None


class Fact(BaseModel):
    """What a teacher stated of a stretch of the clip; seconds count from where that begins."""

    id: Text
    subject: Text = ""
    predicate: Text = ""
    object: Text = ""
    attributes: list[Text] = []
    start_s: float
    end_s: float
    visibility: Text = ""


class Clause(BaseModel):
    """A clause of a label, the facts that it tells, and the share of its words that stand in them."""

    text: Text
    facts: list[Text] = []
    borne_out: float | None = None


class Made(BaseModel):
    """What a teacher saw and said of a clip; see `docs/label.md`.

    Attributes:
        frames: Seconds of the frames shown, from where the clip begins.
        agreement: Of the voices, 0 to 1; None where there is one.
        flags: What the teacher's side noted.
        teachers: Their names.
        voices: What each said.
        facts: What labels were written from.
        notes: What decoding had to say.
    """

    frames: list[float] = []
    agreement: float | None = None
    flags: list[Text] = []
    teachers: list[Text] = []
    voices: list[Voice] = []
    facts: list[Fact] = []
    notes: list[Text] = []


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a label comes from."""

    made: Made
    text: str
    clauses: tuple[Clause, ...]


class Origins:
    """Where labels come from, read from what stands beside their files.

    Args:
        further: Files of provenance that stand elsewhere.

    Raises:
        FormatError: If one cannot be read.
    """

    def __init__(self, further: Iterable[Path]) -> None:
        self._further: dict[str, list[Origin]] = {}
        for path in further:
            _take_in(path, self._further)
        self._beside: dict[str, dict[str, list[Origin]]] = {}

    def of(self, sample: Sample) -> Origin | None:
        """Where a row comes from: from a label of its id that has the same words."""
        file = sample.source.rpartition(":")[0]
        if file not in self._beside:
            self._beside[file] = _beside(Path(file))
        # Ids that come again in another file have a number behind them.
        origin: Origin
        for key in (sample.id, sample.id.rpartition("#")[0]):
            for origin in (*self._beside[file].get(key, ()), *self._further.get(key, ())):
                if origin.text == sample.answer:
                    return origin
        return None


def _beside(file: Path) -> dict[str, list[Origin]]:
    found: dict[str, list[Origin]] = {}
    if not file.name:  # of a clip without a label
        return found
    path = file if file.name.endswith(PROVENANCE) else file.with_name(file.name + PROVENANCE)
    if exists(path):
        _take_in(path, found)
    return found


def _take_in(path: Path, found: dict[str, list[Origin]]) -> None:
    for row in read_rows(path):
        try:
            for key, origin in _origins(row):
                found.setdefault(key, []).append(origin)
        except (ValidationError, AttributeError, TypeError) as error:
            told = f"the row of {row.clip!r} is none of labels ({error})"
            raise FormatError(path, told, "label anew") from None


def _origins(row: LabelRow) -> Iterable[tuple[str, Origin]]:
    made = Made.model_validate(row, from_attributes=True)
    for label in row.labels:
        clauses: Any = label.get("parts") or ()
        yield str(label["id"]), Origin(made, str(label["text"]), tuple(map(Clause.model_validate, clauses)))
