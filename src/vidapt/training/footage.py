"""Clips as tensors for a stage: from the cache, or decoded and cut, with broken clips set aside."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import av
import torch

from vidapt.digests import digest
from vidapt.errors import BrokenClip, ConfigError
from vidapt.models.fingerprint import weights_fingerprint
from vidapt.nouns import Clip, Frames, Kept, Moments, Plan, Seen, Views
from vidapt.parts import outside
from vidapt.recipe import Cache
from vidapt.training.ahead import Ahead, Decoded, Item
from vidapt.training.cache import LostError, TensorStore, kept_by
from vidapt.training.eyes import Eyes, converted, named_rows, see_frozen, stacked_rows
from vidapt.training.keys import ItemKeys
from vidapt.training.picture_sizes import PictureSizes
from vidapt.training.quarantine import reason_of
from vidapt.training.sources import sources_of
from vidapt.training.step_by_step import StepByStep
from vidapt.version import VERSION
from vidapt.video import decode, decode_ahead
from vidapt.video.choose import Policy, Times

T = TypeVar("T")

Told = Callable[[int, int], None]
"""Called with how many clips are done, and of how many."""

FIRST = Times(times=(0.0,))
"""What is looked at of a clip where nothing is kept: its headers and its first frame."""

_NOTED = frozenset({"notes", "frames", "size", "moments"})
"""What is noted beside what is kept of a clip."""

_KEPT = "kept"
"""Name of the tensor that says which visual tokens of a clip are read, where some are not."""

_Cut = tuple[Item, Views, list[str]]
"""A clip, its views, and what decoding had to say."""


class Footage:
    """Views or features of clips.

    Args:
        model: Its frames policy, resolution and tower decide what a clip becomes.
        cache: What is kept.
        folder: Where caches lie.
        tower_trains: Whether the tower's weights will change.
        needs_views: Whether the objective looks at pixels.
        workers: Decoding processes.
        precision: In which frozen towers compute, as `Stage.precision` says.
        shrinks: Whether kept features may be pooled, since the objective does not look at them.
        contents: What is in the files of clips, as `video.identity` has it, as far as it is known.
        sizes: To what frames are resized before they are cut.
    """

    def __init__(
        self,
        model: Eyes,
        cache: Cache,
        folder: Path,
        *,
        tower_trains: bool,
        needs_views: bool,
        workers: int,
        precision: str = "float32",
        shrinks: bool = False,
        contents: Mapping[Path, str] | None = None,
        sizes: PictureSizes | None = None,
    ) -> None:
        self.model, self.workers, self.tower_trains = model, workers, tower_trains
        self._shrinks, self._sizes = shrinks, sizes or PictureSizes(None)
        self._halves = precision == "bfloat16"
        self.key = ItemKeys(contents or {}, self._sizes.side, apart="images" in model.blueprint.scenes)
        self._noted: dict[Item, tuple[str, ...]] = {}
        self.keeps = kept_by(cache, tower_trains=tower_trains, needs_views=needs_views)
        self._again = 0
        self._ahead: Ahead | None = None
        self._lazily: StepByStep | None = None
        self._prepared = False
        self._step: dict[Item, Views] = {}
        self._dtype = None if cache.dtype == "exact" else getattr(torch, cache.dtype)
        self.store: TensorStore | None = None
        self._frames: TensorStore | None = None
        if self.keeps == "frames":
            self.store = TensorStore(folder / self._frames_name(), cache.max_gb * 1e9, _NOTED)
        elif self.keeps == "features":
            self.store = TensorStore(folder / self._features_name(cache), cache.max_gb * 1e9, _NOTED)
            # Frames that another stage has decoded need not be decoded again.
            if (folder / self._frames_name()).is_dir():
                self._frames = TensorStore(folder / self._frames_name(), noted=_NOTED)

    def _frames_depend_on(self) -> list[Any]:
        blueprint = self.model.blueprint
        sizes = [tower.size for tower in self.model.towers]
        # A later version may decode or cut differently.
        made = [VERSION, av.__version__]
        cut = [blueprint.resolution, blueprint.scenes]
        made += sources_of(outside(cut))
        return [*made, blueprint.frames.model_dump(mode="json"), cut, sizes]

    def _frames_name(self) -> str:
        return "frames-" + digest(self._frames_depend_on())

    def _features_name(self, cache: Cache) -> str:
        towers = weights_fingerprint(self.model.towers.state_dict())
        described = self.model.blueprint.towers
        # How strong adapters are stands in no weight.
        adapters = getattr(self.model.blueprint, "tower_adapters", None)
        described = [*described, *([] if adapters is None else [adapters.model_dump(mode="json")])]
        # Kinds of devices round differently, and the code of a part that is not ours may change any time.
        where = [self.model.device.type, sources_of(outside(described))]
        return "features-" + digest(
            [self._frames_depend_on(), towers, cache.dtype, described, self._halves, self._shrinks, where]
        )

    @property
    def note(self) -> str:
        """What a user should know of the cache; empty if all is well."""
        dropped = sum(store.dropped for store in (self.store, self._frames) if store is not None)
        files = "1 damaged file was" if dropped == 1 else f"{dropped} damaged files were"
        clips = "1 damaged clip" if self._again == 1 else f"{self._again} damaged clips"
        told = [f"{files} dropped from the cache"] if dropped else []
        return ", ".join([*told, *([f"{clips} of the cache computed anew"] if self._again else [])])

    def prepare(self, items: Sequence[Item], progress: Told, whole: Collection[Item] = ()) -> dict[Clip, str]:
        """Decode every clip once and fill the store with what is missing.

        Where nothing is kept, only headers and the first frame are looked at: what is broken behind it shows
        when a step comes there (`begin`).

        Args:
            items: The clips.
            progress: Told how far it is.
            whole: Those that have to be sound as a whole, since nobody can do without them later.

        Returns:
            The clips that cannot be used, with their reasons.

        Raises:
            BudgetError: If the store would become larger than it may, as soon as that can be foreseen.
        """
        self._prepared = True
        broken: dict[Item, str] = {}
        if self.store is None:
            self._look(items, broken, progress, frozenset(whole))
            return {item[0]: reason for item, reason in broken.items()}
        missing = self._missing(items)
        done = len(items) - len(missing)
        progress(done, len(items))
        for cut in self._decoded(missing, broken):
            done += 1
            self._put(*cut)
            self.store.check_room(len(items) - done - len(broken))
            progress(done + len(broken), len(items))
        self.store.flush()
        # Of several clips with one key only the first was tried.
        reasons = {self.key(item): reason for item, reason in broken.items()}
        return {item[0]: reasons[self.key(item)] for item in items if reasons and self.key(item) in reasons}

    def prepare_beside(self, items: Sequence[Item], progress: Told) -> dict[Clip, str]:
        """The same of clips that are only measured, where steps make their own ready one by one."""
        prepared = self._prepared
        try:
            return self.prepare(items, progress, whole=items)
        finally:
            self._prepared = prepared

    def notes(self, items: Iterable[Item]) -> dict[Clip, tuple[str, ...]]:
        """What is to be said of prepared clips that can be used, such as an end before their stretch's."""
        if self.store is not None:
            kept = ((item, self.key(item)) for item in items)
            self._noted = {item: tuple(self.store.note(k)["notes"]) for item, k in kept if k in self.store}
        return {item[0]: notes for item, notes in self._noted.items() if notes}

    def _look(
        self, items: Sequence[Item], broken: dict[Item, str], progress: Told, whole: Collection[Item]
    ) -> None:
        """Open every clip, and decode a frame of it or all that is read of it."""
        progress(0, len(items))
        some = [item for item in items if item not in whole]
        for done, (item, (_, frames)) in enumerate(
            zip(some, self._frames_of((clip for clip, _ in some), FIRST), strict=True), 1
        ):
            if isinstance(frames, BrokenClip):
                broken[item] = reason_of(item[0], frames)
            else:
                self._noted[item] = frames.notes
            progress(done, len(items))
        rest = [item for item in items if item in whole]
        for done, _ in enumerate(self._decoded(rest, broken), 1):
            progress(len(some) + done, len(items))

    def _frames_of(self, clips: Iterable[Clip], policy: Policy) -> Iterator[Decoded]:
        return decode_ahead(clips, policy, size=self.model.decode_size, workers=self.workers)

    def follow(self, items: Callable[[int], Sequence[Item]], steps: int) -> None:
        """Learn what steps will see, so that it can be decoded ahead where nothing is kept.

        Args:
            items: Clips of a step, counted from 0.
            steps: How many there are.
        """
        if self.store is not None and not self._prepared:
            self._lazily = StepByStep(items, steps, self.store, self.key, self.prepare)
        elif self.store is None:
            decode = partial(self._frames_of, policy=self.model.blueprint.frames)
            self._ahead = Ahead(items, steps, decode)

    def begin(self, step: int) -> dict[Clip, str]:
        """Have a step's clips at hand; the broken ones among them, with their reasons."""
        if self._lazily is not None:
            return self._lazily.step(step)
        broken: dict[Clip, str] = {}
        if self._ahead is None:
            return broken
        self._step = {}
        for item, frames in self._ahead.step(step):
            views = self._cut(item, frames)
            if isinstance(views, str):
                broken[item[0]] = views
            else:
                self._step[item] = views
        return broken

    def close(self) -> None:
        """Stop decoding ahead."""
        if self._ahead is not None:
            self._ahead.close()

    def _cut(self, item: Item, frames: Frames | BrokenClip) -> Views | str:
        """A clip's views, or why there are none."""
        if isinstance(frames, BrokenClip):
            return reason_of(item[0], frames)
        try:
            return self.cut(self._sizes.resized(item[0], frames), item[1])
        except ValueError as error:  # such as a shape that the model's tower cannot take
            return str(error)

    def _missing(self, items: Sequence[Item]) -> list[Item]:
        """Clips that are not in the store, each content once."""
        assert self.store is not None
        self.key.look(clip for clip, _ in items)
        unique = {self.key(item): item for item in reversed(items)}
        absent = set(self.store.missing(list(unique)))
        return [item for item in items if self.key(item) in absent and unique[self.key(item)] is item]

    def _decoded(self, items: Sequence[Item], broken: dict[Item, str]) -> Iterator[_Cut]:
        """Views of clips: those that are kept first, then the others as they are decoded."""
        kept, others = self._frames, list(items)
        if kept is not None:
            others = []
            for item in items:
                key = self.key(item)
                try:
                    found = (self._kept_views(kept, item), kept.note(key)["notes"]) if key in kept else None
                except LostError:
                    found = None
                if found is None:
                    others.append(item)
                else:
                    yield item, *found
        decoded = self._frames_of((clip for clip, _ in others), self.model.blueprint.frames)
        for item, (_, frames) in zip(others, decoded, strict=True):
            views = self._cut(item, frames)
            if isinstance(views, str) or isinstance(frames, BrokenClip):
                broken[item] = str(views)
            else:
                yield item, views, list(frames.notes)

    def _put(self, item: Item, views: Views, notes: list[str]) -> None:
        assert self.store is not None
        if self.keeps == "features":
            device = self.model.device
            seen = self._see(replace(views, tensors=tuple(t.to(device) for t in views.tensors)))
            tensors = named_rows(item[0], seen.features, self._dtype)
        else:
            tensors = {f"{index}.views": tensor[0] for index, tensor in enumerate(views.tensors)}
        if views.kept:
            tensors[_KEPT] = torch.tensor(views.kept[0], dtype=torch.int32)
        note = {"notes": notes, "frames": views.plan.frames, "size": views.plan.size}
        when = [[one.seconds, one.length] for one in views.moments]
        self.store.put(self.key(item), tensors, {**note, "moments": when})

    def see(self, views: Views) -> Seen:
        """What frozen towers see of N clips, exactly as `seen` gives it where it is kept.

        Args:
            views: Where the towers' weights lie.
        """
        seen, dtype = self._see(views), self._weights_dtype
        return replace(seen, features=tuple(converted(one, dtype) for one in seen.features))

    def _see(self, views: Views) -> Seen:
        # Whoever asks: a step stands under the stage's autocast already, filling the store does not.
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self._halves):
            seen = see_frozen(self.model, views)
        if not self._shrinks or not self.model.shrinks(seen.plan, seen.together):
            return seen
        # Means are taken, and kept, in the model's own number format, as they would be taken later.
        whole = replace(seen, features=tuple(converted(one, self._weights_dtype) for one in seen.features))
        with torch.no_grad(), torch.autocast(self.model.device.type, enabled=False):
            return self.model.shrunk(whole)

    @property
    def _weights_dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def cut(self, frames: Frames, together: int = 1) -> Views:
        """Views of decoded frames."""
        return self.model.cut(torch.from_numpy(frames.pixels), together, frames.moments)

    def views(self, items: Sequence[Item]) -> list[Views]:
        """Views of clips, all stacked where all their plans are equal."""
        cut = [self._views(item) for item in items]
        if len({(one.plan, one.together) for one in cut}) != 1:
            return cut
        columns = zip(*(one.tensors for one in cut), strict=True)
        moments = tuple(itertools.chain.from_iterable(one.moments for one in cut))
        kept = tuple(itertools.chain.from_iterable(one.kept for one in cut))
        tensors = tuple(torch.cat(column) for column in columns)
        return [replace(cut[0], tensors=tensors, moments=moments, kept=kept)]

    def _views(self, item: Item) -> Views:
        if self.store is not None:
            return self._sound(item, lambda store: self._kept_views(store, item))
        # Read once: while something is measured, a later step is made ready in another thread.
        at_hand = self._step.get(item)
        if at_hand is not None:
            return at_hand
        clip, together = item
        frames = decode(clip, self.model.blueprint.frames, size=self.model.decode_size)
        return self.cut(self._sizes.resized(clip, frames), together)

    def _kept_views(self, store: TensorStore, item: Item) -> Views:
        key = self.key(item)
        tensors, note = store.get(key), store.note(key)
        plan = self._plan(note, item[1])
        views = tuple(tensors[f"{index}.views"][None] for index in range(len(plan.views)))
        return Views(views, plan, item[1], _moments(note), _kept([tensors]))

    def _sound(self, item: Item, get: Callable[[TensorStore], T]) -> T:
        """What the store has of a clip; if that is damaged, it is computed and put again.

        Raises:
            BrokenClip: If the clip cannot be decoded any more.
        """
        assert self.store is not None
        try:
            return get(self.store)
        except LostError:
            clip, together = item
            frames = decode(clip, self.model.blueprint.frames, size=self.model.decode_size)
            self._put(item, self.cut(self._sizes.resized(clip, frames), together), list(frames.notes))
            self.store.flush()
            self._again += 1
            return get(self.store)

    def _plan(self, note: Mapping[str, Any], together: int) -> Plan:
        height, width = note["size"]
        return self.model.plan((height, width), note["frames"], together)[0]

    def seen(self, items: Sequence[Item]) -> list[Seen]:
        """Kept features of clips, all stacked where all plans are equal, in the model's number format."""
        if self.store is None or self.keeps != "features":
            raise ConfigError("cache.keep", "features are not kept in this stage")
        dtype, device = self._weights_dtype, self.model.device
        keys = [self.key(item) for item in items]
        rows = [
            self._sound(item, lambda store, key=key: store.get(key))  # type: ignore[misc]
            for key, item in zip(keys, items, strict=True)
        ]
        notes = [self.store.note(key) for key in keys]
        plans = [self._plan(note, item[1]) for note, item in zip(notes, items, strict=True)]
        alike = len({(plan, item[1]) for plan, item in zip(plans, items, strict=True)}) == 1
        members = [range(len(items))] if alike else [range(i, i + 1) for i in range(len(items))]
        return [
            Seen(
                tuple(
                    stacked_rows([rows[i] for i in group], view, dtype, device)
                    for view in range(len(plans[group[0]].views))
                ),
                plans[group[0]],
                items[group[0]][1],
                self._shrinks and self.model.shrinks(plans[group[0]], items[group[0]][1]),
                tuple(itertools.chain.from_iterable(_moments(notes[i]) for i in group)),
                _kept([rows[i] for i in group]),
            )
            for group in members
        ]


def _kept(rows: Sequence[Mapping[str, torch.Tensor]]) -> tuple[Kept, ...]:
    """Which visual tokens of clips are read, by what is stored of them; empty where all are."""
    return tuple(tuple(row[_KEPT].tolist()) for row in rows if _KEPT in row)


def _moments(note: Mapping[str, Any]) -> tuple[Moments, ...]:
    """When the frames of a kept clip were."""
    return tuple(Moments(tuple(seconds), length) for seconds, length in note["moments"])
