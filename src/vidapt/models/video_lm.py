"""VideoLM: vision tower, connector and language model, composed from a blueprint.

The composition is that of LLaVA (Liu et al., 2023) and everything built on it: visual tokens take the
place of word embeddings. What is ours is that a clip's tokens stand once in front of all its questions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.models._language import extend, language_model
from vidapt.models.depths import inject, passed, split, spread_out
from vidapt.models.lora import AdaptedPart, add_adapters, add_tower_adapters
from vidapt.models.origin import Origin
from vidapt.models.packed import Packed, Reading, numbered, prefix_layout, spell
from vidapt.models.pruning import with_pruning
from vidapt.models.rotary import varying
from vidapt.models.visual_side import VisualSide
from vidapt.nouns import Layout, Moments, Stamp
from vidapt.recipe import Blueprint, LoRA, Reads

_ADAPTERS: dict[AdaptedPart, str] = {"language": "adapters", "towers": "tower_adapters"}
"""Where the blueprint says which adapters a part has."""


class VideoLM(VisualSide):
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
        super().__init__(blueprint)
        self.origin: Origin | None = None
        self.place: torch.device | None = None
        self.language = language_model(blueprint.language)
        if blueprint.adapters is not None:
            self.adapt("language", blueprint.adapters)
        self.join(self.language.get_input_embeddings().embedding_dim)
        self.fixed = frozenset(
            f"{part}.{name}"
            for part, module in (("towers", self.towers), ("connector", self.connector))
            for name, weight in module.named_parameters()
            if not weight.requires_grad
        )
        if blueprint.tower_adapters is not None:
            self.adapt("towers", blueprint.tower_adapters)
        self.positions = parts.build("positions", blueprint.positions)
        inject(self.language, self.depths)
        self.tie_weights()

    @cached_property
    def varying(self) -> tuple[nn.Module, ...]:
        """Modules whose rotary frequencies follow from the length of what is read; usually none."""
        return varying(self.language)

    @property
    def device(self) -> torch.device:
        """Where the word embeddings lie, or come to whenever they are needed."""
        weight = self.language.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return self.place or weight.device

    def adapters_of(self, part: AdaptedPart) -> LoRA | None:
        """The low-rank adapters of a part."""
        found = getattr(self.blueprint, _ADAPTERS[part])
        assert found is None or isinstance(found, LoRA)
        return found

    def adapt(self, part: AdaptedPart, lora: LoRA) -> None:
        """Give a part that has none low-rank adapters, which change nothing yet.

        Raises:
            ConfigError: If it has no such layers.
        """
        if part == "language":
            add_adapters(self.language, lora)
        else:
            add_tower_adapters(self.towers, lora, {id(self.get_parameter(name)) for name in self.fixed})
        self.blueprint = self.blueprint.model_copy(update={_ADAPTERS[part]: lora})

    def tie_weights(self) -> None:
        """Make one of what is one: tied word embeddings, and the newline that all scenes share."""
        self.language.tie_weights()
        self.share_newline()

    def read_otherwise(self, reads: Reads) -> None:
        """Change what is read of clips.

        Raises:
            ConfigError: If the language model has positions of other axes, or parts do not go together so.
        """
        times = {**self.blueprint.times, **reads.times}
        scenes = None if reads.scenes is None else {**self.blueprint.scenes, **reads.scenes}
        changes = {
            "frames": reads.frames,
            "positions": reads.positions,
            "times": times,
            "resolution": reads.resolution,
            "scenes": scenes,
            "prompt": reads.prompt,
        }
        blueprint = self.blueprint.model_copy(update={k: v for k, v in changes.items() if v is not None})
        if reads.prune is not None:
            blueprint = with_pruning(blueprint, reads.prune)
        positions = parts.build("positions", blueprint.positions)
        if positions.axes != self.positions.axes:
            raise ConfigError(
                "reads.positions",
                f"have axes: {positions.axes}; the language model's: {self.positions.axes}",
                f"use some like {self.blueprint.positions}",
            )
        self.blueprint, self.positions = blueprint, positions
        if reads.resolution is not None or scenes is not None or reads.prune is not None:
            self.cut_otherwise(self.language.get_input_embeddings().embedding_dim)
        else:
            self.check_reading()

    def add_tokens(self, pieces: Sequence[tuple[int, int]]) -> None:
        """Give the language model rows for more tokens, each the mean of its two pieces' rows, in order.

        Args:
            pieces: Ids of the pieces of each new token; the first of them has the id behind the last row's.

        Raises:
            ConfigError: If the model is a published one, whose format fixes its tokens.
        """
        if self.origin is not None:
            raise ConfigError(
                "new_tokens",
                "is for models that vidapt made; a published one's tokens belong to its format",
                "leave `new_tokens` out: its tokenizer was learned from far more text",
            )
        extend(self.language, pieces)
        rows = self.language.get_input_embeddings().num_embeddings
        language = {**self.blueprint.language, "vocab_size": rows}
        self.blueprint = self.blueprint.model_copy(update={"language": language})
        self.tie_weights()

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
        readings = self._readings([self.layouts(one)[0] for one in views], tokenizer, moments)
        row, slots, spans = prefix_layout(pieces, readings)
        placed = [replace(one, tensors=tuple(t.to(self.device) for t in one.tensors)) for one in views]
        words, marks = torch.tensor([row], device=self.device), torch.tensor([slots], device=self.device)
        numbers = numbered(self.positions, spans)[0].to(self.device)
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


def _pieces(ids: Tensor | Sequence[int]) -> list[tuple[int, ...] | int]:
    """Stretches of ids, and the numbers of the clips between them."""
    pieces: list[tuple[int, ...] | int] = []
    clips = itertools.count()
    for clip, stretch in itertools.groupby(map(int, ids), key=lambda token: token < 0):
        tokens = tuple(stretch)
        pieces += [next(clips) for _ in tokens] if clip else [tokens]
    return pieces
