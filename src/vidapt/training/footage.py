"""Clips as tensors for a stage: from the cache, or decoded and cut, with broken clips set aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import torch
from torch import Tensor

import vidapt
from vidapt.errors import BrokenClip, ConfigError
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Features, Frames
from vidapt.recipe import Cache
from vidapt.training.cache import TensorStore, clip_key, digest, weights_fingerprint
from vidapt.video import decode, decode_ahead

Progress = Callable[[int, int], None]

_Cut = tuple[Clip, Tensor, list[str]]
"""A clip, its [T, 3, h, w] uint8 view, and what decoding had to say."""


class Footage:
    """Views or features of clips.

    Args:
        model: Its frames policy, resolution and tower decide what a clip becomes.
        cache: What is kept.
        folder: Where caches lie.
        tower_trains: Whether the tower's weights will change.
        needs_views: Whether the objective looks at pixels.
        workers: Decoding processes.
    """

    def __init__(
        self,
        model: VideoLM,
        cache: Cache,
        folder: Path,
        *,
        tower_trains: bool,
        needs_views: bool,
        workers: int,
    ) -> None:
        self.model, self.workers, self.tower_trains = model, workers, tower_trains
        self._keys: dict[Clip, str] = {}
        self.keeps = _kept(cache, tower_trains=tower_trains, needs_views=needs_views)
        self._dtype = None if cache.dtype == "exact" else getattr(torch, cache.dtype)
        self.store: TensorStore | None = None
        self._frames: TensorStore | None = None
        if self.keeps == "frames":
            self.store = TensorStore(folder / self._frames_name(), cache.max_gb * 1e9)
        elif self.keeps == "features":
            self.store = TensorStore(folder / self._features_name(cache), cache.max_gb * 1e9)
            # Frames that another stage has decoded need not be decoded again.
            if (folder / self._frames_name()).is_dir():
                self._frames = TensorStore(folder / self._frames_name())

    def _frames_depend_on(self) -> list[Any]:
        blueprint = self.model.blueprint
        # A later version may decode or cut differently.
        made = [vidapt.__version__, av.__version__]
        return [*made, blueprint.frames.model_dump(mode="json"), blueprint.resolution, self.model.tower.size]

    def _frames_name(self) -> str:
        return "frames-" + digest(self._frames_depend_on())

    def _features_name(self, cache: Cache) -> str:
        tower = weights_fingerprint(self.model.tower.state_dict())
        return "features-" + digest(
            self._frames_depend_on(), tower, cache.dtype, self.model.blueprint.towers[0]
        )

    @property
    def decode_size(self) -> tuple[int, int] | None:
        """(height, width) the decoder resizes to, where the resolution lets it."""
        size = self.model.resolution.plan((256, 256), 1).decode
        assert size is None or isinstance(size, tuple)
        return size

    def key(self, clip: Clip) -> str:
        """The clip's key in the store."""
        if clip not in self._keys:
            self._keys[clip] = clip_key(clip)
        return self._keys[clip]

    def prepare(self, clips: Sequence[Clip], progress: Progress) -> list[BrokenClip]:
        """Decode every clip once: fill the store with what is missing, or, when nothing is kept, only look.

        Returns:
            The clips that cannot be used.

        Raises:
            BudgetError: If the store would become larger than it may, as soon as that can be foreseen.
        """
        missing = self._missing(clips)
        broken: list[BrokenClip] = []
        done = len(clips) - len(missing)
        progress(done, len(clips))
        for cut in self._decoded(missing, broken):
            done += 1
            if self.store is not None:
                self._put(*cut)
                self.store.check_room(len(clips) - done - len(broken))
            progress(done + len(broken), len(clips))
        if self.store is not None:
            self.store.flush()
        return broken

    def _missing(self, clips: Sequence[Clip]) -> list[Clip]:
        """Clips that are not in the store, each content once."""
        if self.store is None:
            return list(clips)
        unique = {self.key(clip): clip for clip in reversed(clips)}
        absent = set(self.store.missing(list(unique)))
        return [clip for clip in clips if self.key(clip) in absent and unique[self.key(clip)] is clip]

    def _decoded(self, clips: Sequence[Clip], broken: list[BrokenClip]) -> Iterator[_Cut]:
        """Views of clips: those that are kept first, then the others as they are decoded."""
        kept, others = self._frames, list(clips)
        if kept is not None:
            others = [clip for clip in clips if self.key(clip) not in kept]
            for clip in clips:
                if self.key(clip) in kept:
                    yield clip, kept.get(self.key(clip))["views"], kept.note(self.key(clip))
        policy = self.model.blueprint.frames
        for clip, frames in decode_ahead(others, policy, size=self.decode_size, workers=self.workers):
            if isinstance(frames, BrokenClip):
                broken.append(frames)
            else:
                yield clip, self.cut(frames), list(frames.notes)

    def _put(self, clip: Clip, views: Tensor, notes: list[str]) -> None:
        assert self.store is not None
        tensors = {"views": views}
        if self.keeps == "features":
            seen = see_frozen(self.model, views.unsqueeze(0).to(self.model.device))
            tensors = {"x": seen.x[0]} if seen.extra is None else {"x": seen.x[0], "extra": seen.extra[0]}
            if self._dtype is not None:
                tensors = {name: tensor.to(self._dtype) for name, tensor in tensors.items()}
        self.store.put(self.key(clip), tensors, notes)

    def cut(self, frames: Frames) -> Tensor:
        """[T, 3, h, w] uint8 view of decoded frames."""
        height, width = frames.pixels.shape[1:3]
        pixels = torch.from_numpy(frames.pixels)
        if self.decode_size is not None:
            return pixels.permute(0, 3, 1, 2).contiguous()
        plan = self.model.resolution.plan((height, width), len(frames))
        (view,) = self.model.resolution.cut(pixels, plan)
        assert isinstance(view, Tensor)
        return view

    def views(self, clips: Sequence[Clip]) -> list[Tensor]:
        """Views of clips, stacked where all shapes are equal: [N, T, 3, H, W] each."""
        return _stacked([self._views(clip) for clip in clips])

    def _views(self, clip: Clip) -> Tensor:
        if self.store is not None:
            return self.store.get(self.key(clip))["views"]
        return self.cut(decode(clip, self.model.blueprint.frames, size=self.decode_size))

    def features(self, clips: Sequence[Clip]) -> list[Features]:
        """Kept features of clips, stacked where all shapes are equal, in the model's number format."""
        if self.store is None or self.keeps != "features":
            raise ConfigError("cache.keep", "features are not kept in this stage")
        rows = [self.store.get(self.key(clip)) for clip in clips]
        dtype = next(self.model.connector.parameters()).dtype
        return [_features(members, dtype, self.model.device) for members in _runs(rows)]


@torch.no_grad()
def see_frozen(model: VideoLM, views: Tensor) -> Features:
    """What a frozen tower sees of N clips: [N, T, 3, H, W] uint8 in.

    Each clip is seen by itself: convolutions and matrix products may round differently with the number of
    rows, and features must not depend on which clips were cached before a kill, or stood in the same step.
    """
    seen = [model.see(clip) for clip in torch.split(views, 1)]
    extra = [one.extra for one in seen if one.extra is not None]
    return Features(torch.cat([one.x for one in seen]), torch.cat(extra) if extra else None)


def _features(rows: Sequence[Mapping[str, Tensor]], dtype: torch.dtype, device: torch.device) -> Features:
    x = torch.stack([row["x"] for row in rows]).to(device, dtype)
    extra = torch.stack([row["extra"] for row in rows]).to(device, dtype) if "extra" in rows[0] else None
    return Features(x, extra)


def _runs(rows: Sequence[Mapping[str, Tensor]]) -> list[list[Mapping[str, Tensor]]]:
    """All rows in one list if their shapes are equal, else each by itself."""
    if len({row["x"].shape for row in rows}) <= 1:
        return [list(rows)] if rows else []
    return [[row] for row in rows]


def _stacked(views: Sequence[Tensor]) -> list[Tensor]:
    if len({v.shape for v in views}) <= 1:
        return [torch.stack(list(views))] if views else []
    return [v.unsqueeze(0) for v in views]


def _kept(cache: Cache, *, tower_trains: bool, needs_views: bool) -> str:
    if cache.keep == "features" and (tower_trains or needs_views):
        raise ConfigError(
            "cache.keep", "features cannot be kept while the tower trains", "use frames or auto"
        )
    if cache.keep != "auto":
        return cache.keep
    return "frames" if tower_trains or needs_views else "features"
