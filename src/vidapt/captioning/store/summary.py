"""What one process did for a store of captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidapt.captioning.places import Place
from vidapt.captioning.store.jobs import StoredJob
from vidapt.captioning.store.pace import Pace
from vidapt.captioning.store.rows import DONE, FAILED, SKIPPED, errors_of
from vidapt.captioning.store.single import FileStore
from vidapt.captioning.store.stores import Store
from vidapt.files import exists


@dataclass(frozen=True)
class StoreSummary:
    """What one process did for a store.

    Attributes:
        out: The store.
        captioned: Rows it captioned.
        kept: Captions that are in place beside these: of other processes, or of earlier jobs.
        failed: Clips in place without a caption.
        skipped: Clips that show the same as another one.
        inputs: Clips of the whole job.
        left: Clips of shards that are not in place; others are at them, or will be.
        outputs: Files that were put in place as the last shard came.
        left_out: Captioned clips that one of these cannot hold, by file.
        ignored: How many files were not clips, by suffix.
        seconds: How long it took.
        clips_per_s: Captioned clips by the time from the first to the last.
        waited: Share of that time for which the device waited for frames.
        limit: Clips per second that the device could caption at best; None where that is not known.
        quarantine: The file that says why clips have no caption, beside a file of captions; None without.
        errors: Classes of what is wrong with clips that failed, each with how many.
        shards: Of the whole job.
        idle: Actors that were asked for and for which there was no shard.
    """

    out: Place
    captioned: int
    kept: int
    failed: int
    skipped: int
    inputs: int
    left: int
    outputs: Sequence[Place]
    left_out: dict[str, int]
    ignored: dict[str, int]
    seconds: float
    clips_per_s: float
    waited: float
    limit: float | None = None
    quarantine: Path | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    shards: int = 0
    idle: int = 0

    @classmethod
    def of(
        cls, store: Store, job: StoredJob, pace: Pace, made: Mapping[Place, int], seconds: float
    ) -> StoreSummary:
        """What is in place, and what this process did for it.

        Args:
            store: The store.
            job: The job.
            pace: Of this process.
            made: Files that it put in place, each with how many captioned clips it cannot hold.
            seconds: How long it took.
        """
        totals, finished, sizes = job.counts, job.finished, job.index.sizes
        return cls(
            out=store.place,
            captioned=pace.captioned,
            kept=totals[DONE] - pace.captioned,
            failed=totals[FAILED],
            skipped=totals[SKIPPED],
            inputs=len(job.index),
            left=sum(size for at, size in enumerate(sizes) if at not in finished),
            outputs=list(made),
            left_out={str(path): count for path, count in made.items() if count},
            ignored=job.plan.ignored,
            seconds=seconds,
            clips_per_s=pace.rate,
            waited=pace.waited,
            limit=pace.limit,
            quarantine=_quarantine(store, totals),
            errors=errors_of(totals),
            shards=len(sizes),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        told = {"out": str(self.out), "outputs": [str(path) for path in self.outputs]}
        return asdict(self) | told | {"quarantine": self.quarantine and str(self.quarantine)}

    def row(self) -> list[str]:
        """As a line of a table."""
        counts = [self.captioned, self.kept, self.failed, self.skipped, self.left]
        share = "" if self.limit is None else f"{self.clips_per_s / self.limit:.0%}"
        rate = [f"{self.clips_per_s:.3g}", share, f"{self.waited:.0%}", f"{self.seconds:.1f}"]
        return [*map(str, counts), *rate]


def _quarantine(store: Store, totals: Mapping[str, int]) -> Path | None:
    """The file that says why clips have no caption, if there is one."""
    if not isinstance(store, FileStore) or not totals[FAILED] + totals[SKIPPED]:
        return None
    return store.quarantine if exists(store.quarantine) else None
