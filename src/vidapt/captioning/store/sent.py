"""What is noted of a shard of a store in an object store: a file here, whose new lines the store gets."""

from __future__ import annotations

from pathlib import Path

from vidapt.captioning.objects import Objects
from vidapt.captioning.store.journal import ShardJournal
from vidapt.captioning.store.leases import Lease
from vidapt.files import write_file

_NOTED = ".jsonl"


class SentJournal(ShardJournal):
    """A journal whose new lines are sent to a store with every heartbeat of its lease.

    Args:
        objects: The store.
        folder: What there is of the shard in it.
        path: The file on this machine.

    Raises:
        TakenError: If another process holds the shard.
    """

    def __init__(self, objects: Objects, folder: str, path: Path) -> None:
        self._objects, self._folder, self._sent, self._over = objects, folder, 0, False
        self._lease = Lease(objects, folder, self._send)
        try:
            self._take_over(path)
            super().__init__(path)
        except BaseException:
            self._lease.leave()
            raise

    def remove(self) -> None:
        """Delete it; what it held is safe elsewhere."""
        super().remove()
        self._over = True

    def close(self) -> None:
        """Let others have the shard, with all that is noted of it."""
        over = self._over
        self._lease.rest()  # else it might read a file of another one that has the number of this
        try:
            if not over:
                self._send()
        finally:
            super().close()
            self._lease.leave(over=over)

    def _take_over(self, path: Path) -> None:
        """Put what others noted before what was noted here, each line once; only the latter is to be sent."""
        names = [name for name in self._objects.names(self._folder) if name.endswith(_NOTED)]
        sent = b"".join(self._objects.read(f"{self._folder}/{name}") or b"" for name in names)
        theirs = list(dict.fromkeys(sent.splitlines(keepends=True)))
        known = set(theirs)
        ours = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        new = [line for line in dict.fromkeys(ours) if line not in known]
        self._sent = sum(map(len, theirs))
        write_file(path, lambda temporary: temporary.write_bytes(b"".join([*theirs, *new])))

    def _send(self) -> None:
        new = self.since(self._sent)
        if new:
            name = f"{self._folder}/{self._lease.number:04d}-{self._sent:012d}{_NOTED}"
            self._objects.write(name, new)
            self._sent += len(new)
