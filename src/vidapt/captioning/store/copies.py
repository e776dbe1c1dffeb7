"""Clips of a list that show the same as one before them."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vidapt.captioning.places import is_address
from vidapt.captioning.store.index import Index, rewrite_index
from vidapt.captioning.store.inputs import Input
from vidapt.curation.likeness import ALIKE, FRAMES, SIDE, Signatures, like_pairs, signatures
from vidapt.curation.sketches import alike
from vidapt.nouns import Clip
from vidapt.progress import Reporter

_TOGETHER = 4096
"""Clips that are decoded by one set of processes, and whose signatures are in memory at a time."""


def mark_copies(path: Path, workers: int, report: Reporter) -> None:
    """Write into a list which clips show the same as an earlier one, by `curation.likeness`.

    A clip is held against those alone that are captioned. What lies in a tar file or an object store is not
    looked at. Signatures, 9 kB a clip, lie in a file beside the list meanwhile.

    Args:
        path: The list, as `write_index` wrote it.
        workers: Decoding processes.
        report: Told how far it is.
    """
    index = Index(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        found = _looked_at(index, Path(folder) / "signatures", workers, report)
        report("hold clips against each other", 0, 1)
        like = _like(found, alike(found))
        report("hold clips against each other", 1, 1)
    if like:
        rewrite_index(path, ([_marked(one, like) for one in shard] for shard in _shards(index)))


def _shards(index: Index) -> Iterator[list[Input]]:
    return (index.shard(number) for number in range(len(index.sizes)))


def _looked_at(index: Index, file: Path, workers: int, report: Reporter) -> Signatures:
    """Signatures of all clips that are files, in a file."""
    frames = np.memmap(file, np.float16, "w+", shape=(len(index), FRAMES, SIDE * SIDE))
    clips: list[Clip] = []
    moves = [np.empty(0, bool)]
    looked = 0
    for some in _groups(index):
        found = signatures(some, workers, _from(looked, len(index), report))
        frames[len(clips) : len(clips) + len(found.clips)] = found.frames
        clips += found.clips
        moves.append(found.moves)
        looked += len(some)
    return Signatures(clips, frames[: len(clips)], np.concatenate(moves))


def _groups(index: Index) -> Iterator[list[Clip]]:
    group: list[Clip] = []
    for shard in _shards(index):
        group += [one.clip for one in shard if _is_file(one)]
        if len(group) >= _TOGETHER:
            yield group
            group = []
    if group:
        yield group


def _from(before: int, every: int, report: Reporter) -> Reporter:
    """A reporter for a part of the work."""

    def told(task: str, done: int, total: int, note: str = "") -> None:
        del total
        report(task, before + done, every, note)

    return told


def _is_file(one: Input) -> bool:
    return one.wrong is None and one.offset is None and not is_address(one.path)


def _marked(one: Input, like: dict[str, str]) -> Input:
    return replace(one, like=like.get(one.name))


def _like(found: Signatures, pairs: Iterable[tuple[int, int, float]]) -> dict[str, str]:
    """For every clip that is not captioned, the one that it is most like of those that are.

    Not all pairs are known: where those that a clip is known to be like are all copies, it is held against
    what they are copies of.
    """
    alike: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for first, second, how in pairs:
        alike[second].append((how, -first))
    copies: dict[int, int] = {}
    for second in sorted(alike):
        models = [(how, first) for how, first in alike[second] if -first not in copies]
        if not models:
            of = np.array(sorted({copies[-first] for _, first in alike[second]}))
            models = [
                (how, -first) for first, _, how in like_pairs(found, of, np.full_like(of, second), ALIKE)
            ]
        if models:
            copies[second] = -max(models)[1]
    names = [clip.id for clip in found.clips]
    return {names[second]: names[first] for second, first in copies.items()}
