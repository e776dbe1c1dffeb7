"""What of a video-language model is about clips: how they are cut, seen, and read as visual tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.models._visual_check import check_levels, made_connector
from vidapt.models.clip_rows import rows_of, split_rows, split_views, visual_tokens
from vidapt.models.layout import arranged, layout_of, marked, stitched
from vidapt.models.pruning import check_pruning, kept_of, kept_of_still, prune_of, sparse
from vidapt.nouns import Features, Kept, Layout, Moments, Plan, Seen, Stamp, Tokens, Views
from vidapt.recipe import Blueprint, Scene, TimeText

_LAYOUTS = 4096
"""Layouts remembered at most; a set of clips has few sizes."""

_PROBED = (1, 2, 4, 8, 16, 64)
"""Numbers of frames with which it is tried whether parts go together."""


class VisualSide(nn.Module):
    """Towers, connector and resolutions of a video-language model.

    Args:
        blueprint: What the model is made of. `join` makes what depends on the language model's width.

    Raises:
        ConfigError: If a part cannot be used.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.blueprint = blueprint
        self.towers: Any = nn.ModuleList(parts.build("towers", spec) for spec in blueprint.towers)

    def join(self, width: int) -> None:
        """Make the connector and the resolutions.

        Args:
            width: D, of the language model.

        Raises:
            ConfigError: If parts cannot be used, or do not go together.
        """
        self.connector = made_connector(self.blueprint, self.towers, width)
        self._make_resolutions(width)
        check_levels(self.towers, self.depths)
        self.check_reading()

    def _make_resolutions(self, width: int) -> None:
        blueprint = self.blueprint
        self.resolution = parts.build("resolutions", blueprint.resolution, size=self.tower.size, width=width)
        self._scenes = {
            scene: parts.build("resolutions", spec, size=self.tower.size, width=width)
            for scene, spec in blueprint.scenes.items()
        }
        # Those that learn something are registered, so that it is trained and saved.
        self.scenes = nn.ModuleDict({k: v for k, v in self._scenes.items() if isinstance(v, nn.Module)})

    def cut_otherwise(self, width: int) -> None:
        """Make the resolutions anew, as the blueprint has them now; a newline that was learned stays.

        Args:
            width: D, of the language model.

        Raises:
            ConfigError: If they do not go with the other parts.
        """
        learned = next((part.newline for part in self._resolutions if hasattr(part, "newline")), None)
        del self.resolution  # it may be a module now, and none then
        self._make_resolutions(width)
        for part in self._resolutions:
            if learned is not None and hasattr(part, "newline"):
                part.newline = learned
        self.share_newline()
        self.check_reading()

    def check_reading(self) -> None:
        """Forget what was known of layouts, and see that all parts go together.

        Raises:
            ConfigError: If some do not.
        """
        self._layouts: dict[tuple[Plan, int], Layout] = {}
        self._stills: dict[tuple[Plan, int], Kept | None] = {}
        for part in self._resolutions:
            self._check_reading(part)
        check_pruning(self.resolution, self._scenes, self.connector)

    def share_newline(self) -> None:
        """Make one of the newlines of all scenes."""
        learned = [part for part in self._resolutions if hasattr(part, "newline")]
        for part in learned[1:]:
            part.newline = learned[0].newline

    @property
    def depths(self) -> tuple[int, ...]:
        """The language layers behind which the connector adds something to the states of visual tokens."""
        return tuple(getattr(self.connector, "depths", ()))

    @property
    def tower(self) -> Any:
        """The (first) vision tower."""
        return self.towers[0]

    @property
    def _resolutions(self) -> tuple[Any, ...]:
        return self.resolution, *self._scenes.values()

    def resolution_for(self, frames: int, together: int = 1) -> Any:
        """The resolution part for a clip of some frames in a conversation about some clips."""
        return self._scenes.get(_scene(frames, together), self.resolution)

    def _text(self, frames: int, together: int) -> TimeText | None:
        """What is written around such a clip and its slices."""
        return self.blueprint.times.get(_scene(frames, together))

    @property
    def decode_size(self) -> tuple[int, int] | None:
        """(height, width) to which the decoder resizes, where every resolution lets it."""
        sizes: set[tuple[int, int] | None] = {part.plan((256, 256), 1).decode for part in self._resolutions}
        return sizes.pop() if len(sizes) == 1 else None

    def plan(self, size: tuple[int, int], frames: int, together: int = 1) -> tuple[Plan, Layout]:
        """What will be cut from a clip, and what will be read of it.

        Args:
            size: (height, width) of the file, in pixels.
            frames: How many are decoded.
            together: How many clips the conversation is about.
        """
        plan = self.resolution_for(frames, together).plan(size, frames)
        return plan, self.layout(plan, together)

    def _check_reading(self, resolution: Any) -> None:
        """See that a resolution gives the connector what it reads, for some number of frames at least."""
        failures: list[Exception] = []
        for frames in _PROBED:
            try:
                plan = resolution.plan(self.tower.size, frames)
                self._read_of(plan, resolution, self._text(frames, 1))
            except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
                failures.append(error)
            else:
                return
        raise ConfigError(
            "blueprint.resolution",
            f"does not go with these towers and this connector: {failures[-1]}",
            "choose a resolution, towers and a connector that do",
        ) from failures[-1]

    def layout(self, plan: Plan, together: int = 1) -> Layout:
        """What will be read of a clip that is cut by a plan.

        Where the resolution leaves tokens out, as many are left out here as will be, or none if that depends
        on pixels. Which they are always depends on pixels, and `layouts` tells it.
        """
        whole = self._whole_layout(plan, together)
        kept = self._still(plan, together)
        return whole if kept is None else sparse(whole, kept)

    def _whole_layout(self, plan: Plan, together: int) -> Layout:
        """What would be read if nothing were left out."""
        known = self._layouts.get((plan, together))
        if known is None:
            resolution, text = self.resolution_for(plan.frames, together), self._text(plan.frames, together)
            known = self._read_of(plan, resolution, text)
            if len(self._layouts) == _LAYOUTS:
                self._layouts.clear()
            self._layouts[plan, together] = known
        return known

    def _read_of(self, plan: Plan, resolution: Any, text: TimeText | None) -> Layout:
        grids = [self.towers[view.tower].grid(plan.frames, view.size) for view in plan.views]
        spans = [self.connector.plan(*call) for call in stitched(resolution, grids, plan)]
        return arranged(resolution, spans, plan, text, len(self.depths))

    def _still(self, plan: Plan, together: int) -> Kept | None:
        """Which visual tokens are read of a clip in which nothing moves; None where all are."""
        key = plan, together
        if key not in self._stills:
            if len(self._stills) == _LAYOUTS:
                self._stills.clear()
            resolution = self.resolution_for(plan.frames, together)
            self._stills[key] = kept_of_still(plan, resolution, self.towers, self.connector)
        return self._stills[key]

    def layouts(self, clips: Views | Seen) -> list[Layout]:
        """What is read of each of N clips."""
        if not clips.kept:
            return [self.layout(clips.plan, clips.together)] * rows_of(clips)
        whole = self._whole_layout(clips.plan, clips.together)
        return [sparse(whole, kept) for kept in clips.kept]

    def cut(self, pixels: Tensor, together: int = 1, moments: Moments | None = None) -> Views:
        """Views of one decoded clip.

        Args:
            pixels: [T, H, W, 3] uint8.
            together: How many clips its conversation is about.
            moments: When the frames were; None where nobody knows.
        """
        frames, height, width = pixels.shape[:3]
        resolution = self.resolution_for(frames, together)
        plan = resolution.plan((height, width), frames)
        if plan.decode == (height, width) and self.decode_size is not None:
            tensors = [pixels.permute(0, 3, 1, 2).contiguous()]
        else:
            tensors = resolution.cut(pixels, plan)
        known = () if moments is None else (moments,)
        kept = kept_of(tensors, plan, resolution, self.towers, self.connector)
        views = tuple(tensor.unsqueeze(0) for tensor in tensors)
        return Views(views, plan, together, known, () if kept is None else (kept,))

    def see_views(self, views: Views) -> Seen:
        """What the towers see of N clips; views of one size go through their tower together."""
        alike: dict[tuple[Any, ...], list[int]] = {}
        for index, (tensor, view) in enumerate(zip(views.tensors, views.plan.views, strict=True)):
            alike.setdefault((view.tower, tensor.shape, tensor.dtype), []).append(index)
        seen: dict[int, Features] = {}
        for (tower, *_), members in alike.items():
            rows = self.see(torch.cat([views.tensors[index] for index in members]), tower)
            seen |= zip(members, split_views(rows, len(members)), strict=True)
        features = tuple(seen[index] for index in range(len(views.tensors)))
        return Seen(features, views.plan, views.together, moments=views.moments, kept=views.kept)

    def see_each(self, cuts: Sequence[Views]) -> list[Seen]:
        """What the towers see of clips that are cut by different plans, in order.

        Clips whose views are alike go through the towers together, whatever their files' sizes.
        """
        alike: dict[Any, list[int]] = {}
        for index, cut in enumerate(cuts):
            shapes = tuple((tensor.shape[1:], tensor.dtype) for tensor in cut.tensors)
            alike.setdefault((cut.plan.views, shapes), []).append(index)
        seen: dict[int, Seen] = {}
        for members in alike.values():
            columns = zip(*(cuts[index].tensors for index in members), strict=True)
            all_of_them = replace(cuts[members[0]], tensors=tuple(map(torch.cat, columns)))
            rows = [len(cuts[index].tensors[0]) for index in members]
            views = [split_rows(features, rows) for features in self.see_views(all_of_them).features]
            for index, features in zip(members, zip(*views, strict=True), strict=True):
                cut = cuts[index]
                seen[index] = Seen(features, cut.plan, cut.together, moments=cut.moments, kept=cut.kept)
        return [seen[index] for index in range(len(cuts))]

    def shrinks(self, plan: Plan, together: int = 1) -> bool:
        """Whether `shrunk` makes what was seen of such clips smaller."""
        return bool(getattr(self.resolution_for(plan.frames, together), "pools_first", False))

    def shrunk(self, seen: Seen) -> Seen:
        """What was seen, pooled where the resolution pools before the connector: by nothing that learns."""
        if seen.stitched or not self.shrinks(seen.plan, seen.together):
            return seen
        resolution = self.resolution_for(seen.plan.frames, seen.together)
        features = tuple(one for (one,) in resolution.stitch(seen.features, seen.plan))
        return replace(seen, features=features, stitched=True)

    def read(self, seen: Seen) -> list[Tokens | str | Stamp]:
        """All visual tokens and the text of N clips in reading order; `read_rows` tells which are read."""
        resolution = self.resolution_for(seen.plan.frames, seen.together)
        calls = [(one,) for one in seen.features]
        if not seen.stitched:
            calls = resolution.stitch(seen.features, seen.plan)
        tokens = [self.connect(*call, moments=seen.moments) for call in calls]
        return marked(
            resolution.arrange(tokens, seen.plan), self._text(seen.plan.frames, seen.together), seen.plan
        )

    def read_rows(self, seen: Seen) -> list[tuple[Tensor, Layout]]:
        """Visual tokens of each of N clips, [n, D] or [n, D * (1 + depths)], with how they are read."""
        return self.rows_of_read(self.read(seen), seen)

    def rows_of_read(self, read: Sequence[Tokens | str | Stamp], seen: Seen) -> list[tuple[Tensor, Layout]]:
        """The same of what `read` gave."""
        rows, whole = visual_tokens(read), layout_of(read)
        kept = seen.kept or (self._still(seen.plan, seen.together),) * len(rows)
        return [
            (row, whole) if some is None else (row[list(some)], sparse(whole, some))
            for row, some in zip(rows, kept, strict=True)
        ]

    def look(self, views: Sequence[Tensor], plan: Plan, together: int = 1) -> list[Tokens | str | Stamp]:
        """What is read of N clips, from one [N, T, 3, h, w] per view of their plan."""
        return self.read(self.see_views(Views(tuple(views), plan, together)))

    def visual(self, seen: Sequence[Seen]) -> Tensor | None:
        """Visual tokens of clips in order, None when there are none: [V, D], or [V, D * (1 + depths)]."""
        tokens = [rows for one in seen for rows in self._rows(one)]
        return torch.cat(tokens) if tokens else None

    def _rows(self, seen: Seen) -> list[Tensor]:
        if prune_of(self.resolution_for(seen.plan.frames, seen.together), seen.plan.frames) is None:
            return [visual_tokens(self.read(seen)).flatten(0, 1)]
        return [row for row, _ in self.read_rows(seen)]

    def see(self, views: Tensor, tower: int = 0) -> Features:
        """Features one tower makes of N clips: [N, T, 3, H, W] in."""
        features = self.towers[tower](views)
        assert isinstance(features, Features)
        return features

    def connect(self, *features: Features, moments: Sequence[Moments] = ()) -> Tokens:
        """Visual tokens of N clips: one call of the connector, which is told when frames were if it asks."""
        told = {"moments": moments} if getattr(self.connector, "timed", False) else {}
        tokens = self.connector(*features, **told)
        assert isinstance(tokens, Tokens)
        return tokens


def _scene(frames: int, together: int) -> Scene:
    """What a clip is to its conversation."""
    return "video" if frames > 1 else "image" if together == 1 else "images"
