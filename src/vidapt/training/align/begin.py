"""The dual encoder an alignment begins with: made from nothing, saved by a run, or published."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from vidapt.errors import ConfigError
from vidapt.files import write_json
from vidapt.hub import open_dual_encoder
from vidapt.loading import locate_dual
from vidapt.models.dual_encoder import DualEncoder
from vidapt.recipe import DualBlueprint, Recipe
from vidapt.training.tokenizer import learn_caption_tokenizer
from vidapt.training.tower_weights import take_tower


def begin(recipe: Recipe, texts: Iterable[str], report: Path) -> tuple[DualEncoder, Any]:
    """The model and the tokenizer that a recipe starts from.

    Args:
        recipe: Its `dual` (with `tower_weights`, if it has any) or `start`.
        texts: What a tokenizer is learned from, if one has to be.
        report: What became of a published checkpoint's tensors is written here.

    Raises:
        CheckpointError: If the model to start from cannot be opened.
        ConfigError: If it has no tokenizer and the recipe gives none, or one that is too large.
    """
    if recipe.dual is not None:
        tokenizer = _given(recipe) or learn_caption_tokenizer(texts, recipe.vocabulary)
        torch.manual_seed(recipe.seed)
        model = DualEncoder(_fitted(recipe.dual, tokenizer))
        if recipe.tower_weights is not None:
            take_tower(model, recipe.tower_weights)
        return model, tokenizer
    assert recipe.start is not None
    model, own, told = open_dual_encoder(locate_dual(recipe.start), accept=recipe.accept, seed=recipe.seed)
    write_json(report, told.to_dict())
    tokenizer = _given(recipe) or own
    if tokenizer is None:
        raise ConfigError(
            recipe.start,
            "has no tokenizer",
            "name the folder of CLIP's tokenizer as the recipe's `tokenizer`",
        )
    rows = model.text.net.config.vocab_size
    if len(tokenizer) > rows:
        raise ConfigError(
            "tokenizer", f"knows {len(tokenizer)} tokens, the text tower {rows}", "give the model's own"
        )
    return model, tokenizer


def resume(run: Path) -> tuple[DualEncoder, Any]:
    """What the last finished stage of a run left."""
    model, tokenizer, _ = open_dual_encoder(locate_dual(run))
    return model, tokenizer


def _given(recipe: Recipe) -> Any:
    return None if recipe.tokenizer is None else PreTrainedTokenizerFast.from_pretrained(recipe.tokenizer)


def _fitted(dual: DualBlueprint, tokenizer: Any) -> DualBlueprint:
    """The blueprint with the tokenizer's size and marks."""
    marks = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    arch = {**dual.text.arch, "vocab_size": len(tokenizer), **marks}
    return dual.model_copy(update={"text": dual.text.model_copy(update={"arch": arch})})
