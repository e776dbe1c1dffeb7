"""VideoLM: vision tower, connector and language model, composed from a blueprint.

The composition is that of LLaVA (Liu et al., 2023) and everything built on it: visual tokens take the
place of word embeddings. What is ours is that a clip's tokens stand once in front of all its questions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.models._language import language_model
from vidapt.models.clip_rows import split_rows, split_views, visual_tokens
from vidapt.models.depths import inject, passed, split, spread_out
from vidapt.models.layout import arranged, marked, stitched
from vidapt.models.lora import add_adapters
from vidapt.models.origin import Origin
from vidapt.models.packed import Packed, Reading, prefix_layout, spell
from vidapt.nouns import Features, Layout, Moments, Plan, Seen, Stamp, Tokens, Views
from vidapt.recipe import Blueprint, Reads, Scene, TimeText

_LAYOUTS = 4096
"""Layouts remembered at most; a set of clips has few sizes."""

_PROBED = (1, 2, 4, 8, 16, 64)
"""Numbers of frames with which it is tried whether parts go together."""


class VideoLM(nn.Module):
    """A video-language model.

    Args:
        blueprint: What it is made of. Weights are random until loaded.

    Attributes:
        origin: The published checkpoint it was opened from, if it was.
        place: Where words are read, if their embeddings are kept elsewhere until then.
        fixed: Names of weights that a tower or connector froze when it was made, because it never uses
            them; no stage trains them.

    Raises:
        ConfigError: If a part or the language model's configuration cannot be used.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.blueprint = blueprint
        self.origin: Origin | None = None
        self.place: torch.device | None = None
        self.towers: Any = nn.ModuleList(parts.build("towers", spec) for spec in blueprint.towers)
        self.language = language_model(blueprint.language)
        if blueprint.adapters is not None:
            add_adapters(self.language, blueprint.adapters)
        width = self.language.get_input_embeddings().embedding_dim
        self.connector = _connector(blueprint, self.towers, width)
        self.fixed = frozenset(
            f"{part}.{name}"
            for part, module in (("towers", self.towers), ("connector", self.connector))
            for name, weight in module.named_parameters()
            if not weight.requires_grad
        )
        self.resolution = parts.build("resolutions", blueprint.resolution, size=self.tower.size, width=width)
        self._scenes = {
            scene: parts.build("resolutions", spec, size=self.tower.size, width=width)
            for scene, spec in blueprint.scenes.items()
        }
        # Those that learn something are registered, so that it is trained and saved.
        self.scenes = nn.ModuleDict({k: v for k, v in self._scenes.items() if isinstance(v, nn.Module)})
        self.positions = parts.build("positions", blueprint.positions)
        _check_levels(self.towers, self.depths)
        inject(self.language, self.depths)
        self._layouts: dict[tuple[Plan, int], Layout] = {}
        for part in (self.resolution, *self._scenes.values()):
            self._check_reading(part)
        self.tie_weights()

    @property
    def depths(self) -> tuple[int, ...]:
        """The language layers behind which the connector adds something to the states of visual tokens."""
        return tuple(getattr(self.connector, "depths", ()))

    @property
    def tower(self) -> Any:
        """The (first) vision tower."""
        return self.towers[0]

    @property
    def device(self) -> torch.device:
        """Where the word embeddings lie, or come to whenever they are needed."""
        weight = self.language.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return self.place or weight.device

    def tie_weights(self) -> None:
        """Make one of what is one: tied word embeddings, and the newline that all scenes share."""
        self.language.tie_weights()
        learned = [part for part in (self.resolution, *self._scenes.values()) if hasattr(part, "newline")]
        for part in learned[1:]:
            part.newline = learned[0].newline

    def read_otherwise(self, reads: Reads) -> None:
        """Change what is read of clips.

        Raises:
            ConfigError: If the language model has positions of other axes, or parts do not go together so.
        """
        times = {**self.blueprint.times, **reads.times}
        changes = {"frames": reads.frames, "positions": reads.positions, "times": times}
        blueprint = self.blueprint.model_copy(update={k: v for k, v in changes.items() if v is not None})
        positions = parts.build("positions", blueprint.positions)
        if positions.axes != self.positions.axes:
            raise ConfigError(
                "reads.positions",
                f"have axes: {positions.axes}; the language model's: {self.positions.axes}",
                f"use some like {self.blueprint.positions}",
            )
        self.blueprint, self.positions = blueprint, positions
        self._layouts.clear()
        for part in (self.resolution, *self._scenes.values()):
            self._check_reading(part)

    def resolution_for(self, frames: int, together: int = 1) -> Any:
        """The resolution part for a clip of some frames in a conversation about some clips."""
        return self._scenes.get(_scene(frames, together), self.resolution)

    def _text(self, frames: int, together: int) -> TimeText | None:
        """What is written around such a clip and its slices."""
        return self.blueprint.times.get(_scene(frames, together))

    @property
    def decode_size(self) -> tuple[int, int] | None:
        """(height, width) to which the decoder resizes, where every resolution lets it."""
        resolutions = (self.resolution, *self._scenes.values())
        sizes: set[tuple[int, int] | None] = {part.plan((256, 256), 1).decode for part in resolutions}
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
        """What will be read of a clip that is cut by a plan."""
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
        return Views(tuple(tensor.unsqueeze(0) for tensor in tensors), plan, together, known)

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
        return Seen(features, views.plan, views.together, moments=views.moments)

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
                seen[index] = Seen(features, cut.plan, cut.together, moments=cut.moments)
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
        """Visual tokens and text of N clips in reading order, as their layout promises."""
        resolution = self.resolution_for(seen.plan.frames, seen.together)
        calls = [(one,) for one in seen.features]
        if not seen.stitched:
            calls = resolution.stitch(seen.features, seen.plan)
        tokens = [self.connect(*call, moments=seen.moments) for call in calls]
        return marked(
            resolution.arrange(tokens, seen.plan), self._text(seen.plan.frames, seen.together), seen.plan
        )

    def look(self, views: Sequence[Tensor], plan: Plan, together: int = 1) -> list[Tokens | str | Stamp]:
        """What is read of N clips, from one [N, T, 3, h, w] per view of their plan."""
        return self.read(self.see_views(Views(tuple(views), plan, together)))

    def visual(self, seen: Sequence[Seen]) -> Tensor | None:
        """Visual tokens of clips in order, None when there are none: [V, D], or [V, D * (1 + depths)]."""
        tokens = [visual_tokens(self.read(one)).flatten(0, 1) for one in seen]
        return torch.cat(tokens) if tokens else None

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

    def embed(self, ids: Tensor, slots: Tensor, visual: Tensor | None) -> Tensor:
        """Word embeddings with visual tokens in their slots.

        Args:
            ids: [N, L] long.
            slots: [N, L] bool.
            visual: [V, D]; V is the number of slots. None when there are no clips.

        Raises:
            ValueError: If the number of slots and of visual tokens differ.
        """
        words = self.language.get_input_embeddings()(ids)
        assert isinstance(words, Tensor)
        count, wanted = 0 if visual is None else len(visual), int(slots.sum())
        if wanted != count:
            raise ValueError(f"{wanted} slots for {count} visual tokens")
        if visual is None or not count:
            return words
        return words.masked_scatter(slots.unsqueeze(-1), visual.to(words.dtype))

    def entering(self, ids: Tensor, slots: Tensor, visual: Tensor | None) -> dict[str, Any]:
        """Words and clips as keywords of the language model: embeddings, and what enters deeper down.

        Args:
            ids: [N, L] long.
            slots: [N, L] bool.
            visual: [V, D * (1 + depths)]; V is the number of slots. None when there are no clips.

        Raises:
            ValueError: If the number of slots and of visual tokens differ.
        """
        if visual is None or not self.depths:
            return {"inputs_embeds": self.embed(ids, slots, visual)}
        shallow, deep = split(visual, self.depths)
        embedded = self.embed(ids, slots, shallow)
        return {"inputs_embeds": embedded, **passed(spread_out(slots, deep, self.depths))}

    def states(self, packed: Packed, visual: Tensor | None) -> Tensor:
        """Last hidden states where labels are predicted.

        Args:
            packed: N rows.
            visual: [V, D * (1 + depths)] visual tokens in the order of the rows' slots.

        Returns:
            [M, D], one row per label.
        """
        length = packed.ids.shape[1]
        states = self.language.base_model(
            **self.entering(packed.ids, packed.slots, visual),
            position_ids=packed.positions,
            # A four-dimensional mask is taken as it is. With a layout it is not read; should a layer ever
            # miss the layout, no token sees a later one.
            attention_mask=packed.slots.new_ones(length, length).tril()[None, None],
            use_cache=False,
            layout=packed.layout,
        ).last_hidden_state
        # Of a model on several devices, where its last layer lies.
        picked = states.flatten(0, 1)[packed.label_at.to(states.device)]
        assert isinstance(picked, Tensor)
        return picked

    def forward(self, packed: Packed, visual: Tensor | None) -> Tensor:
        """Logits where labels are, and nowhere else: [M, vocabulary] float32, one row per label."""
        return self.head(self.states(packed, visual))

    def logits(
        self,
        ids: Tensor | Sequence[int],
        clips: Sequence[Tensor] = (),
        tokenizer: Any = None,
        moments: Sequence[Moments] = (),
    ) -> Tensor:
        """Logits at every position of one conversation, with gradients where they are not switched off.

        Args:
            ids: [K] token ids; a negative one stands in the place of the next clip.
            clips: [T, H, W, 3] uint8 each, as many as there are negative ids; a still is one frame.
            tokenizer: Needed only where a model reads text between a clip's visual tokens.
            moments: When the frames of each clip were; needed only where a model reads times.

        Returns:
            [L, vocabulary], in the format that `head` gives; row i is about the token behind position i. L is
            K with every negative id replaced by all that is read of its clip; `logits[-n:]` are the last n
            positions in either count, where no clip stands among them.

        Raises:
            ConfigError: If there are no ids, more or fewer clips than negative ones, or no tokenizer where it
                is needed.
        """
        pieces = _pieces(ids)
        places = sum(isinstance(piece, int) for piece in pieces)
        if not pieces or places != len(clips):
            raise ConfigError(
                "ids", f"{len(pieces)} stretches, {places} clips", f"{len(clips)} negative ids are needed"
            )
        views = [self.cut(clip, len(clips)) for clip in clips]
        readings = self._readings([self.layout(one.plan, len(clips)) for one in views], tokenizer, moments)
        row, slots, spans = prefix_layout(pieces, readings)
        placed = [replace(one, tensors=tuple(t.to(self.device) for t in one.tensors)) for one in views]
        words, marks = torch.tensor([row], device=self.device), torch.tensor([slots], device=self.device)
        numbers = self.positions.ids(spans)[0].to(self.device)
        states = self.language.base_model(
            **self.entering(words, marks, self.visual([self.see_views(one) for one in placed])),
            attention_mask=torch.ones_like(words),
            position_ids=numbers if len(numbers) == 1 else numbers.unsqueeze(1),
            use_cache=False,
        ).last_hidden_state
        return self.head(states[0])

    def _readings(
        self, layouts: Sequence[Layout], tokenizer: Any, moments: Sequence[Moments]
    ) -> list[Reading]:
        if tokenizer is None and any(isinstance(span, str | Stamp) for layout in layouts for span in layout):
            raise ConfigError("tokenizer", "is needed for text between visual tokens", "give the model's")
        known: Sequence[Moments | None] = moments or [None] * len(layouts)
        return [
            spell(layout, index, tokenizer, when)
            for index, (layout, when) in enumerate(zip(layouts, known, strict=True))
        ]

    def head(self, states: Tensor) -> Tensor:
        """[M, D] states to [M, vocabulary] logits in float32, or float64 where the model is in float64.

        They lie where words are read, wherever the model's last layers are.
        """
        logits = self.language.get_output_embeddings()(states)
        logits = logits.to(self.device, torch.promote_types(logits.dtype, torch.float32))
        assert isinstance(logits, Tensor)
        cap = getattr(self.language.config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits


def _scene(frames: int, together: int) -> Scene:
    """What a clip is to its conversation."""
    return "video" if frames > 1 else "image" if together == 1 else "images"


def _check_levels(towers: Any, depths: Sequence[int]) -> None:
    """See that the connector adds behind as many language layers as the tower gives levels."""
    levels = [level for tower in towers for level in getattr(tower, "levels", ())]
    if len(levels) != len(depths):
        raise ConfigError(
            "blueprint.connector.depths",
            f"names {len(depths)} language layers, the tower gives {len(levels)} inner levels: {levels}",
            "name one language layer for each of the tower's `levels`",
        )


def _connector(blueprint: Blueprint, towers: Any, width_out: int) -> Any:
    widths: tuple[int, ...] = tuple(tower.width for tower in towers)
    width_in = widths[0] if len(widths) == 1 else widths
    try:
        return parts.build("connectors", blueprint.connector, width_in=width_in, width_out=width_out)
    except ValidationError:
        raise
    except ValueError as error:  # of a connector that does not fit its towers
        raise ConfigError(
            "blueprint.connector", str(error), "give it the towers that it reads, or use another connector"
        ) from error


def _pieces(ids: Tensor | Sequence[int]) -> list[tuple[int, ...] | int]:
    """Stretches of ids, and the numbers of the clips between them."""
    pieces: list[tuple[int, ...] | int] = []
    clips = itertools.count()
    for clip, stretch in itertools.groupby(map(int, ids), key=lambda token: token < 0):
        tokens = tuple(stretch)
        pieces += [next(clips) for _ in tokens] if clip else [tokens]
    return pieces
