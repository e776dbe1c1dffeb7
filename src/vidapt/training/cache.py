"""Tensors of clips kept on disk: a frozen tower's features, or decoded frames.

Safetensors shards and an index of one JSON line per clip. A shard is written whole before the index names
its clips, so that a killed run loses at most the shard it was filling. The folder's name is the hash of
everything the tensors depend on, so nothing stale can be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vidapt.errors import BudgetError
from vidapt.files import disk_errors, write_file, write_text
from vidapt.nouns import Clip

SHARD_BYTES = 64 * 2**20
INDEX = "index.jsonl"


def digest(*values: Any) -> str:
    """First 24 hex digits of the SHA-256 of the values' canonical JSON."""
    text = json.dumps(values, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def clip_key(clip: Clip) -> str:
    """Identifies a clip's content: path, size and time of change of its files, and the stretch used."""
    files = sorted(clip.path.iterdir()) if clip.path.is_dir() else [clip.path]
    seen = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return digest(str(clip.path.resolve()), seen, clip.start_s, clip.end_s)


class TensorStore:
    """Named tensors per clip key.

    Args:
        folder: Made if missing; use one folder per combination of everything the tensors depend on.
        max_bytes: Writing more raises BudgetError.
    """

    def __init__(self, folder: Path, max_bytes: float = float("inf")) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._index: dict[str, dict[str, Any]] = {}
        self._open: dict[str, Any] = {}
        self._pending: dict[str, dict[str, Tensor]] = {}
        self._notes: dict[str, Any] = {}
        self._pending_bytes = 0
        self._put_count = self._put_bytes = 0
        self._bytes = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        self._read_index()

    def __contains__(self, key: str) -> bool:
        return key in self._index or key in self._pending

    def _read_index(self) -> None:
        """Believe what is whole and whose shard is there; a line torn by a kill is cut off."""
        index = self.folder / INDEX
        if not index.exists():
            return
        text = index.read_text(encoding="utf-8")
        rows = [row for row in map(_row, text.splitlines()) if row is not None]
        shards = {file.name for file in self.folder.glob("*.safetensors")}
        self._index = {row["key"]: row for row in rows if row["shard"] in shards}
        whole = "".join(json.dumps(row) + "\n" for row in self._index.values())
        if text != whole:
            write_text(index, whole)

    def check_room(self, more: int) -> None:
        """Fail early: whether `more` clips as large as those put so far will fit.

        Raises:
            BudgetError: If they will not.
        """
        mean = self._put_bytes / max(1, self._put_count)
        self._check(self._bytes + self._pending_bytes + mean * more)

    def _check(self, size: float) -> None:
        if size > self.max_bytes:
            raise BudgetError(
                self.folder,
                f"the cache would take {size / 1e9:.3g} GB, {self.max_bytes / 1e9:.3g} GB are allowed",
                "raise `cache.max_gb`, store as float16, or set `cache.keep: nothing`",
            )

    def note(self, key: str) -> Any:
        """The note a clip's tensors were put with."""
        return self._index[key]["note"] if key in self._index else self._notes[key]

    def put(self, key: str, tensors: Mapping[str, Tensor], note: Any = None) -> None:
        """Add a clip's tensors (copied); written when a shard is full or at `flush`.

        Raises:
            BudgetError: If the store would become larger than it may.
        """
        kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        self._pending[key], self._notes[key] = kept, note
        size = sum(t.numel() * t.element_size() for t in kept.values())
        self._pending_bytes += size
        self._put_bytes += size
        self._put_count += 1
        self._check(self._bytes + self._pending_bytes)
        if self._pending_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard, then name it in the index."""
        if not self._pending:
            return
        name = f"{digest(sorted(self._pending))}.safetensors"
        flat = {f"{key}/{part}": t for key, parts in self._pending.items() for part, t in parts.items()}
        write_file(self.folder / name, lambda path: save_file(flat, str(path)))
        rows = [
            {"key": key, "shard": name, "parts": sorted(parts), "note": self._notes[key]}
            for key, parts in self._pending.items()
        ]
        with disk_errors(self.folder), (self.folder / INDEX).open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
        self._index |= {row["key"]: row for row in rows}
        self._bytes += self._pending_bytes
        self._pending, self._notes, self._pending_bytes = {}, {}, 0

    def get(self, key: str) -> dict[str, Tensor]:
        """A clip's tensors, memory-mapped where they are on disk.

        Raises:
            KeyError: If the clip is not there.
        """
        if key in self._pending:
            return dict(self._pending[key])
        row = self._index[key]
        shard = row["shard"]
        if shard not in self._open:
            self._open[shard] = safe_open(self.folder / shard, framework="pt")
        return {part: self._open[shard].get_tensor(f"{key}/{part}") for part in row["parts"]}

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those keys that are not there, in order."""
        return [key for key in keys if key not in self]


def _row(line: str) -> dict[str, Any] | None:
    """An index line; None for the torn last line of a killed run."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and row.keys() == {"key", "shard", "parts", "note"} else None
