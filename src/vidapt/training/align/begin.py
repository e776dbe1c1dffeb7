"""The dual encoder an alignment begins with: made from nothing, saved by a run, or published."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from vidapt.errors import ConfigError
from vidapt.hub import open_dual_encoder
from vidapt.loading import compose_dual, locate_dual
from vidapt.loading.compose import Sources
from vidapt.loading.compose_dual import DualPlan
from vidapt.models.assign import parameters_on_meta
from vidapt.models.dual_encoder import DualEncoder
from vidapt.recipe import DualBlueprint, Recipe
from vidapt.training.begin import given_tokenizer, keep_report
from vidapt.training.tokenizer import learn_caption_tokenizer


def planned(recipe: Recipe) -> DualPlan | None:
    """Look at what a recipe begins with, before any work; as `training.begin.planned`."""
    if recipe.reads is not None:
        raise ConfigError(
            "reads", "is for models that speak; a dual encoder reads no text about its clips", "leave it out"
        )
    if any(stage.batching.at_once for stage in recipe.stages):
        raise ConfigError(
            "batching.at_once",
            "would compare the clips of a portion alone",
            "use fewer `clips`, or `recompute`",
        )
    if recipe.start is not None:
        locate_dual(recipe.start)
    elif recipe.dual is not None and compose_dual.is_composed(recipe.dual):
        return compose_dual.plan(recipe.dual, Sources(recipe.accept, recipe.seed), recipe.at)
    return None


def begin(recipe: Recipe, texts: Iterable[str], run: Path, plan: DualPlan | None) -> tuple[DualEncoder, Any]:
    """The model and the tokenizer that a recipe starts from.

    Args:
        recipe: Its `dual` or `start`.
        texts: What a tokenizer is learned from, if one has to be.
        run: Folder of the run, in which is kept what became of every tensor of published weights.
        plan: What the parts of its `dual` begin with, if they take others' weights.

    Raises:
        CheckpointError: If the model to start from cannot be opened.
        ConfigError: If it has no tokenizer and the recipe gives none, or one that is too large.
    """
    if recipe.start is not None:
        model, tokenizer, told = _opened(recipe, recipe.start)
        keep_report(run, told, model.blueprint, tokenizer)
        return model, tokenizer
    blueprint, tokenizer = _settled(recipe, texts, plan)
    if plan is None:
        torch.manual_seed(recipe.seed)
        return DualEncoder(blueprint), tokenizer
    model, report = plan.make(blueprint, seed=recipe.seed)
    keep_report(run, report, model.blueprint, tokenizer)
    return model, tokenizer


def outline(recipe: Recipe, texts: Iterable[str], plan: DualPlan | None) -> tuple[DualEncoder, Any]:
    """What `begin` makes, for its sizes alone; a dual encoder to start from is small enough to be opened."""
    if recipe.start is not None:
        return _opened(recipe, recipe.start)[:2]
    blueprint, tokenizer = _settled(recipe, texts, plan)
    with parameters_on_meta():
        return DualEncoder(blueprint), tokenizer


def _opened(recipe: Recipe, start: str) -> tuple[DualEncoder, Any, dict[str, Any]]:
    model, own, told = open_dual_encoder(locate_dual(start), accept=recipe.accept, seed=recipe.seed)
    return model, _known(recipe, own, start, model.text.net.config.vocab_size), told.to_dict()


def _settled(recipe: Recipe, texts: Iterable[str], plan: DualPlan | None) -> tuple[DualBlueprint, Any]:
    """What a new dual encoder is made of, and its tokenizer."""
    assert recipe.dual is not None
    blueprint = DualBlueprint.model_validate(recipe.dual.model_dump()) if plan is None else plan.blueprint
    reading = None if plan is None else plan.reading
    if reading is None:
        tokenizer = given_tokenizer(recipe) or learn_caption_tokenizer(texts, recipe.vocabulary)
        return _fitted(blueprint, tokenizer), tokenizer
    source = reading.source
    own = None if source.tokenizer is None else source.tokenizer()
    return blueprint, _known(recipe, own, source.name, int(blueprint.text.arch["vocab_size"]))


def _known(recipe: Recipe, own: Any | None, name: str, rows: int) -> Any:
    """The recipe's tokenizer or a model's own, of which the model knows every entry."""
    tokenizer = given_tokenizer(recipe) or own
    if tokenizer is None:
        raise ConfigError(
            name,
            "has no tokenizer",
            "name the folder of CLIP's tokenizer as the recipe's `tokenizer`",
        )
    if len(tokenizer) > rows:
        raise ConfigError(
            "tokenizer", f"knows {len(tokenizer)} tokens, the text tower {rows}", "give the model's own"
        )
    return tokenizer


def resume(run: Path) -> tuple[DualEncoder, Any]:
    """What the last finished stage of a run left."""
    model, tokenizer, _ = open_dual_encoder(locate_dual(run))
    return model, tokenizer


def _fitted(dual: DualBlueprint, tokenizer: Any) -> DualBlueprint:
    """The blueprint with the tokenizer's size and marks."""
    marks = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    arch = {**dual.text.arch, "vocab_size": len(tokenizer), **marks}
    return dual.model_copy(update={"text": dual.text.model_copy(update={"arch": arch})})
