"""Tensors of clips kept on disk: a frozen tower's features, or decoded frames.

Safetensors shards, each put in place whole, with keys, notes and checksums of its clips in its header: a
killed run loses at most the shard it was filling, and several jobs may fill one folder. The folder's name is
the hash of everything the tensors depend on, and a clip's key that of its content, so nothing stale is read.
What cannot be read, or is not what was written, is not there, and is computed again.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vidapt.digests import digest
from vidapt.errors import BudgetError, ConfigError, VidaptError
from vidapt.files import disk_errors, write_file
from vidapt.recipe import Cache

SHARD_BYTES = 64 * 2**20
OPEN_SHARDS = 256
"""Shards held open at once: each is mapped, and a process may have 65,530 mappings and far fewer files."""

_CLIPS, _DIGEST = "clips", "digest"
_LEFT_AFTER_S = 3600.0
"""Seconds without a change after which a temporary file was left by a kill; writing a shard takes a few."""


class _Row(NamedTuple):
    """Where a clip's tensors are, their names, the note they were put with, their checksum, and when."""

    shard: str
    parts: tuple[str, ...]
    note: Any
    crc32: int
    made: int


class LostError(VidaptError):
    """Tensors that were there when the store was opened, and are gone or damaged."""


class TensorStore:
    """Named tensors per clip key.

    Args:
        folder: Made if missing; use one folder per combination of everything the tensors depend on.
        max_bytes: Writing more raises BudgetError.
        noted: What notes have to tell. A clip of which an earlier version kept less is not there.

    Attributes:
        dropped: Damaged shards that were there when the store was opened; their clips are missing.
    """

    def __init__(
        self, folder: Path, max_bytes: float = float("inf"), noted: frozenset[str] = frozenset()
    ) -> None:
        self.folder, self.max_bytes, self.dropped = folder, max_bytes, 0
        self._noted = noted
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._index: dict[str, _Row] = {}
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._sound: set[str] = set()
        self._pending: dict[str, dict[str, Tensor]] = {}
        self._notes: dict[str, Any] = {}
        self._pending_bytes = 0
        self._put_count = self._put_bytes = 0
        # The next steps are read in the background while what is measured is read in front.
        self._lock = threading.RLock()
        self._bytes = 0
        self._read_shards()

    def __contains__(self, key: str) -> bool:
        return key in self._index or key in self._pending

    def _read_shards(self) -> None:
        """Believe shards that are whole; delete the others, and what kills left behind.

        Another job may be filling the folder at the same time. Its shards appear whole and in one step, so
        one that is damaged is so for that job as well. Its temporary files are there while it writes them;
        they are told from those of a killed job by their age.
        """
        for path in sorted(self.folder.glob("*.safetensors")):
            with suppress(OSError):  # gone, or not to be read or deleted: as if it were not there
                if path.name.startswith("."):
                    if time.time() - path.stat().st_mtime > _LEFT_AFTER_S:
                        path.unlink()
                    continue
                rows = _rows(path)
                if rows is None:
                    self.dropped += 1
                    path.unlink()
                    continue
                self._bytes += path.stat().st_size
                for key, row in rows.items():
                    if not self._noted <= set(row.note or ()):
                        continue
                    # Of a clip that was damaged and put again, the newer one counts.
                    if key not in self._index or self._index[key].made < row.made:
                        self._index[key] = row

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
        return self._index[key].note if key in self._index else self._notes[key]

    def put(self, key: str, tensors: Mapping[str, Tensor], note: Any = None) -> None:
        """Add a clip's tensors (copied); written when a shard is full or at `flush`.

        Raises:
            BudgetError: If the store would become larger than it may.
        """
        kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        with self._lock:
            self._keep(key, kept, note)

    def _keep(self, key: str, kept: dict[str, Tensor], note: Any) -> None:
        self._pending[key], self._notes[key] = kept, note
        size = sum(t.numel() * t.element_size() for t in kept.values())
        self._pending_bytes += size
        self._put_bytes += size
        self._put_count += 1
        self._check(self._bytes + self._pending_bytes)
        if self._pending_bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one shard."""
        with self._lock:
            if self._pending:
                self._write()

    def _write(self) -> None:
        name = f"{digest(sorted(self._pending))}.safetensors"
        flat = {f"{key}/{part}": t for key, parts in self._pending.items() for part, t in parts.items()}
        now = time.time_ns()
        clips = json.dumps(
            {
                key: [sorted(parts), self._notes[key], _checksum(parts), now]
                for key, parts in self._pending.items()
            }
        )
        header = {_CLIPS: clips, _DIGEST: digest(clips)}
        write_file(self.folder / name, lambda path: save_file(flat, str(path), metadata=header))
        self._index |= _parsed(clips, name)
        self._bytes += (self.folder / name).stat().st_size
        self._pending, self._notes, self._pending_bytes = {}, {}, 0

    def get(self, key: str) -> dict[str, Tensor]:
        """A clip's tensors, memory-mapped where they are on disk, and checked when they are first asked for.

        Raises:
            KeyError: If the clip is not there.
            LostError: If it was there when the store was opened, and cannot be read or is damaged. It is
                not there any more then, and can be put again.
        """
        with self._lock:
            return dict(self._pending[key]) if key in self._pending else self._read(key)

    def _read(self, key: str) -> dict[str, Tensor]:
        row = self._index[key]
        path = self.folder / row.shard
        try:
            shard = self._opened(row.shard)
            tensors = {part: shard.get_tensor(f"{key}/{part}") for part in row.parts}
        except (SafetensorError, OSError) as error:
            raise self._lost(key, path, f"was changed or deleted while it was used: {error}") from error
        if key not in self._sound:
            if _checksum(tensors) != row.crc32:
                raise self._lost(key, path, "is damaged")
            self._sound.add(key)
        return tensors

    def _opened(self, shard: str) -> Any:
        if shard not in self._open:
            self._open[shard] = safe_open(self.folder / shard, framework="pt")
        self._open.move_to_end(shard)
        while len(self._open) > OPEN_SHARDS:
            self._open.popitem(last=False)
        return self._open[shard]

    def _lost(self, key: str, path: Path, found: str) -> LostError:
        del self._index[key]
        self._open.pop(path.name, None)
        return LostError(
            path, found, "run the same command again with --resume: what cannot be read is computed anew"
        )

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Those keys that are not there, in order."""
        return [key for key in keys if key not in self]


def _rows(path: Path) -> dict[str, _Row] | None:
    """The clips of a shard by key; None if it is damaged, or was not written by a store.

    Raises:
        OSError: If it is gone or may not be read.
    """
    try:
        with safe_open(path, framework="pt") as shard:
            header, names = shard.metadata() or {}, set(shard.keys())
    except SafetensorError:
        return None
    clips = header.get(_CLIPS, "")
    if header.get(_DIGEST) != digest(clips):
        return None
    try:
        rows = _parsed(clips, path.name)
    except TypeError:  # of an earlier version, without checksums
        return None
    whole = {f"{key}/{part}" for key, row in rows.items() for part in row.parts} == names
    return rows if whole else None


def _parsed(clips: str, shard: str) -> dict[str, _Row]:
    """The clips of a shard's header by key."""
    found = json.loads(clips).items()
    return {key: _Row(shard, tuple(parts), *others) for key, (parts, *others) in found}


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 of names, number formats, shapes and bytes; see `manifest` for why this one."""
    crc = 0
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, crc)
    return crc


def kept_by(cache: Cache, *, tower_trains: bool, needs_views: bool) -> str:
    """What is kept: `features`, `frames` or `nothing`.

    Raises:
        ConfigError: If features are asked for that do not stay as they are, or are not all that is needed.
    """
    if cache.keep == "features" and (tower_trains or needs_views):
        raise ConfigError(
            "cache.keep", "features cannot be kept while the tower trains", "use frames or auto"
        )
    if cache.keep != "auto":
        return cache.keep
    return "frames" if tower_trains or needs_views else "features"
