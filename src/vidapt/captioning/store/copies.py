"""Clips of a list that show the same as one before them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vidapt.captioning.places import is_address
from vidapt.captioning.store.index import Index, rewrite_index
from vidapt.captioning.store.inputs import Input
from vidapt.curation.likeness import near, signatures
from vidapt.errors import ConfigError
from vidapt.progress import Reporter

MOST = 20_000
"""Clips that are held against one another; with more, that takes longer than captioning some twice."""


def mark_copies(path: Path, workers: int, report: Reporter) -> None:
    """Write into a list which clips show the same as an earlier one, by `curation.likeness`.

    A clip is held against those alone that are captioned. What lies in a tar file or an object store is not
    looked at.

    Args:
        path: The list, as `write_index` wrote it.
        workers: Decoding processes.
        report: Told how far it is.

    Raises:
        ConfigError: If there are too many.
    """
    index = Index(path)
    if len(index) > MOST:
        raise ConfigError(
            "--dedup",
            f"{len(index):,} clips are too many to hold each against every other",
            f"give at most {MOST:,} at a time, or leave it out",
        )
    shards = [index.shard(number) for number in range(len(index.sizes))]
    compared = [one for shard in shards for one in shard if _is_file(one)]
    found = signatures([one.clip for one in compared], workers, report)
    like = _like([clip.id for clip in found.clips], near(found))
    if like:
        rewrite_index(path, ([_marked(one, like) for one in shard] for shard in shards))


def _is_file(one: Input) -> bool:
    return one.wrong is None and one.offset is None and not is_address(one.path)


def _marked(one: Input, like: dict[str, str]) -> Input:
    return replace(one, like=like.get(one.name))


def _like(names: list[str], pairs: Iterable[tuple[int, int, float]]) -> dict[str, str]:
    """For every clip that is not captioned, the one that it is most like of those that are."""
    alike: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for first, second, how in pairs:
        alike[second].append((how, -first))
    copies: dict[int, int] = {}
    for second in sorted(alike):
        models = [(how, first) for how, first in alike[second] if -first not in copies]
        if models:
            copies[second] = -max(models)[1]
    return {names[second]: names[first] for second, first in copies.items()}
