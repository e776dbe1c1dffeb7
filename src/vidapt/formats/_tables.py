"""Label files as tables whose rows are read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from vidapt.formats._columns import Columns, Gathered
from vidapt.formats._detect import built
from vidapt.formats._fingerprint import fingerprint
from vidapt.formats._index import Told, indexed
from vidapt.formats._outline import outline_of
from vidapt.formats._shards import shards_of
from vidapt.nouns import Sample


class Table(Protocol):
    """Labels of one file.

    Attributes:
        path: The file.
        digest: Of all that is in it.
        columns: Its rows in short.
    """

    path: Path
    digest: str
    columns: Columns

    def __len__(self) -> int:
        """Number of rows."""

    def where(self, number: int) -> str:
        """`file:line` of a row, counted from 0."""

    def sample(self, number: int, *, look: bool = True) -> Sample:
        """The sample of a row, counted from 0; clips are unpacked and looked for only where one is to `look`.

        Raises:
            FormatError: If the row is unsound.
        """


class HeldTable:
    """The same of samples that are held in memory, such as those of a folder of clips.

    Args:
        path: Where they come from.
        samples: All of them.
    """

    def __init__(self, path: Path, samples: Iterable[Sample]) -> None:
        self.path, self._samples = path, list(samples)
        gathered = Gathered(str(path.absolute()))
        for sample in self._samples:
            gathered.add(outline_of(sample))
        self.columns, self.digest = gathered.columns(), fingerprint(self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def where(self, number: int) -> str:
        """`file:line` of a row, counted from 0."""
        return self._samples[number].source

    def sample(self, number: int, *, look: bool = True) -> Sample:
        """The sample of a row, counted from 0."""
        del look
        return self._samples[number]


def open_tables(
    path: str | Path, kind: str | None = None, progress: Told = lambda done, total: None, **config: Any
) -> Sequence[Table]:
    """Open label files for reading single rows, each by an index that is made beside it where there is none.

    Args:
        path: A label file or folder, or a pattern such as `shards/part-*.tar`.
        kind: Their format; found out from each file's content if None.
        progress: Told how many bytes of a file are read, and of how many.
        config: Options of the format.

    Raises:
        FormatError: If the labels are unsound, as far as an index looks.
        ConfigError: If the format or one of its options does not exist.
    """
    tables: list[Table] = []
    for file in shards_of(Path(path)):
        name, part = built(file, kind, config)
        readable = hasattr(part, "reader")
        tables.append(indexed(file, name, part, progress) if readable else HeldTable(file, part.read(file)))
    return tables


def wants_index(path: str | Path, kind: str | None = None, above: int = 64 << 20) -> bool:
    """Whether label files are better read row by row: tar shards, and what has more than `above` bytes."""
    files = shards_of(Path(path))
    sizes = sum(file.stat().st_size for file in files if file.is_file())
    return kind == "webdataset" or any(file.suffix.lower() == ".tar" for file in files) or sizes > above
