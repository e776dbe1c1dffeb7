"""Which job a request is: the one that is not finished, or a new one, whose clips one process lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from vidapt.captioning.store.index import write_index
from vidapt.captioning.store.inputs import Listing
from vidapt.captioning.store.jobs import FORMAT, Plan, StoredJob
from vidapt.captioning.store.stores import Store
from vidapt.digests import digest
from vidapt.locks import TakenError
from vidapt.progress import Reporter

_POLL_S = 0.2


def open_job(
    store: Store,
    settings: str,
    listing: Listing,
    shard: int,
    batch: int,
    asked: dict[str, Any],
    *,
    alone: bool,
    mark: Callable[[Path], None] | None = None,
    report: Reporter,
) -> StoredJob:
    """The unfinished job of a request, or a new one, whose inputs are listed now.

    Args:
        store: The store.
        settings: Hash of what captions depend on.
        listing: Where the clips come from.
        shard: Inputs of a shard of a new job.
        batch: Clips of a batch of a new job.
        asked: What is told of it.
        alone: Begin a new job where the last one is finished. Otherwise that counts as this one, if the same
            clips are listed: one of several processes comes when the others are through.
        mark: Called with the list once it is made, to mark clips that are not to be captioned.
        report: Told how far the list is.

    Raises:
        ConfigError: If there are no clips, or the place holds something else that is not to be replaced.
        FormatError: If a list or a tar file cannot be read.
    """
    request = digest([FORMAT, settings, listing.said])[:16]

    def fill(index: Path) -> Plan:
        listed = write_index(index, listing, shard, report)
        if mark is not None:
            mark(index)
        return Plan(settings, request, listed, batch, asked, dict(listing.ignored))

    store.accept(request)
    with _patiently(store, request, report):
        before = [job for job in store.jobs() if job.plan.request == request]
        if before and before[-1].done is None:
            return before[-1]
        number = before[-1].number + 1 if before else 0
        job = store.make(f"{request}-{number}", fill)
        if before and not alone and before[-1].plan.listed == job.plan.listed:
            store.remove(job)
            return before[-1]
    return job


def remove_earlier(store: Store, job: StoredJob) -> None:
    """Delete finished jobs of the same request, whose rows the newest one has taken over."""
    for other in store.jobs():
        if other.plan.request == job.plan.request and other.number < job.number:
            store.remove(other)


@contextmanager
def _patiently(store: Store, request: str, report: Reporter) -> Iterator[None]:
    """Be the only one who lists clips, once the others are through."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(store.listing(request))
                break
            except TakenError:
                report("wait for the list of clips", 0, 1)
                time.sleep(_POLL_S)
        yield
