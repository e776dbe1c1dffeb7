"""VideoLM: vision tower, connector and language model, composed from a blueprint.

The composition is that of LLaVA (Liu et al., 2023) and everything built on it: visual tokens take the
place of word embeddings. What is ours is that a clip's tokens stand once in front of all its questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.models._language import language_model
from vidapt.models.packed import Packed, Span
from vidapt.nouns import Features, Plan, Tokens
from vidapt.recipe import Blueprint, LoRA


class VideoLM(nn.Module):
    """A video-language model.

    Args:
        blueprint: What it is made of. Weights are random until loaded.

    Attributes:
        fixed: Names of weights that a tower or connector froze when it was made, because it never uses
            them; no stage trains them.

    Raises:
        ConfigError: If a part or the language model's configuration cannot be used.
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.blueprint = blueprint
        self.towers = nn.ModuleList(parts.build("towers", spec) for spec in blueprint.towers)
        self.language = language_model(blueprint.language)
        if blueprint.adapters is not None:
            add_adapters(self.language, blueprint.adapters)
        self.connector = parts.build(
            "connectors",
            blueprint.connector,
            width_in=self.tower.width,
            width_out=self.language.get_input_embeddings().embedding_dim,
        )
        self.fixed = frozenset(
            f"{part}.{name}"
            for part, module in (("towers", self.towers), ("connector", self.connector))
            for name, weight in module.named_parameters()
            if not weight.requires_grad
        )
        self.resolution = parts.build("resolutions", blueprint.resolution, size=self.tower.size)
        self.positions = parts.build("positions", blueprint.positions)

    @property
    def tower(self) -> Any:
        """The (only) vision tower."""
        return self.towers[0]

    @property
    def device(self) -> torch.device:
        """Where the word embeddings lie."""
        weight = self.language.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight.device

    def plan(self, size: tuple[int, int], frames: int) -> tuple[Plan, Span]:
        """What will be cut from a clip of `size` = (height, width), and how many tokens it becomes."""
        plan = self.resolution.plan(size, frames)
        (view,) = plan.views
        return plan, self.connector.plan(self.tower.grid(frames, view))

    def see(self, views: Tensor) -> Features:
        """Tower features of N clips: [N, T, 3, H, W] uint8 in."""
        features = self.tower(views)
        assert isinstance(features, Features)
        return features

    def connect(self, features: Features) -> Tokens:
        """Visual tokens of N clips."""
        tokens = self.connector(features)
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

    def states(self, packed: Packed, visual: Tensor | None) -> Tensor:
        """Last hidden states where labels are predicted.

        Args:
            packed: N rows.
            visual: [V, D] visual tokens in the order of the rows' slots.

        Returns:
            [M, D], one row per label.
        """
        states = self.language.base_model(
            inputs_embeds=self.embed(packed.ids, packed.slots, visual),
            position_ids=packed.positions,
            # A four-dimensional mask is taken as it is; with a layout it is not read.
            attention_mask=packed.slots.new_ones(1, 1, 1, 1),
            use_cache=False,
            layout=packed.layout,
        ).last_hidden_state
        picked = states.flatten(0, 1)[packed.label_at]
        assert isinstance(picked, Tensor)
        return picked

    def forward(self, packed: Packed, visual: Tensor | None) -> Tensor:
        """Logits where labels are, and nowhere else: [M, vocabulary] float32, one row per label."""
        return self.head(self.states(packed, visual))

    def head(self, states: Tensor) -> Tensor:
        """[M, D] states to [M, vocabulary] logits in float32, or float64 where the model is in float64."""
        logits = self.language.get_output_embeddings()(states)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        assert isinstance(logits, Tensor)
        cap = getattr(self.language.config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits


def flatten_tokens(tokens: Sequence[Tokens]) -> Tensor | None:
    """Visual tokens of several clips in order as [V, D]; None when there are none."""
    return torch.cat([t.x.flatten(0, 1) for t in tokens]) if tokens else None


def add_adapters(language: nn.Module, lora: LoRA) -> None:
    """Put low-rank adapters (Hu et al., 2021) into the language model's linear layers, in place."""
    from peft import LoraConfig, inject_adapter_in_model

    targets = _linear_names(language) if lora.targets == "all-linear" else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
    )
    try:
        inject_adapter_in_model(config, language)
    except ValueError as error:
        raise ConfigError(
            "adapters.targets", str(error), f"linear layers here: {_linear_names(language)}"
        ) from error


def _linear_names(language: Any) -> list[str]:
    """Last names of the linear layers, without the output embedding."""
    head = language.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, m in language.named_modules()
            if isinstance(m, nn.Linear) and m is not head
        }
    )
