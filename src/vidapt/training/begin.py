"""The model a run begins with: an existing one, one made from nothing, or one composed of parts of others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from vidapt.errors import CheckpointError, ConfigError
from vidapt.files import write_json
from vidapt.hub import LoadReport, read_tokenizer
from vidapt.loading import RUN, compose, locate, open_model, outline_model
from vidapt.loading.compose import Plan, Sources, empty
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint, Recipe
from vidapt.training.more_tokens import grow_tokenizer
from vidapt.training.tokenizer import learn_tokenizer

LOAD_REPORT = "load_report.json"
"""File of a run: what became of every tensor that it began with."""

_DESCRIBED = "configurations, prompt or tokenizer"


def planned(recipe: Recipe) -> Plan | None:
    """Look at what a recipe begins with, before any work: nothing it names is missing or does not fit.

    Returns:
        What its parts begin with, if it takes others' weights.

    Raises:
        CheckpointError: If there is no such model to start from.
        ConfigError: Listing what is wrong with the parts.
    """
    if recipe.start is not None:
        locate(recipe.start)
    elif recipe.blueprint is not None and compose.is_composed(recipe.blueprint):
        sources = Sources(recipe.accept, recipe.seed)
        return compose.plan(recipe.blueprint, sources, recipe.at, given_tokenizer(recipe))
    return None


def begin(recipe: Recipe, texts: Iterable[str], run: Path, plan: Plan | None) -> tuple[VideoLM, Any]:
    """The video-language model and the tokenizer that a recipe begins with.

    Args:
        recipe: The recipe.
        texts: What a tokenizer is learned from, if one has to be.
        run: Folder of the run, in which is kept what became of every tensor.
        plan: As `planned` gave it.

    Raises:
        CheckpointError: If a model cannot be opened.
        ConfigError: If what the run began with has changed since.
    """
    if recipe.start is not None:
        told: list[LoadReport] = []
        model, tokenizer = open_model(recipe.start, tell=told.append)
        tokenizer = _changed(model, tokenizer, recipe, texts)
        for report in told:
            keep_report(run, report.to_dict(), model.blueprint, tokenizer)
        return model, tokenizer
    blueprint, tokenizer = _settled(recipe, texts, plan)
    if plan is None:
        torch.manual_seed(recipe.seed)
        return VideoLM(blueprint), tokenizer
    model, made = plan.make(blueprint, seed=recipe.seed)
    keep_report(run, made, model.blueprint, tokenizer)
    return model, tokenizer


def outline(recipe: Recipe, texts: Iterable[str], plan: Plan | None) -> tuple[VideoLM, Any]:
    """What `begin` makes, for its sizes alone: its weights are nowhere, or still in their files.

    Args:
        recipe: The recipe.
        texts: What a tokenizer is learned from, if one has to be.
        plan: As `planned` gave it.

    Raises:
        CheckpointError: If the model to start from cannot be described.
    """
    if recipe.start is not None:
        model, tokenizer = outline_model(recipe.start)
        return model, _changed(model, tokenizer, recipe, texts)
    blueprint, tokenizer = _settled(recipe, texts, plan)
    return empty(blueprint), tokenizer


def _changed(model: VideoLM, tokenizer: Any, recipe: Recipe, texts: Iterable[str]) -> Any:
    """Change an existing model in what its recipe says that it reads otherwise; returns its tokenizer."""
    if recipe.reads is not None:
        model.read_otherwise(recipe.reads)
    if not recipe.new_tokens:
        return tokenizer
    grown, pieces = grow_tokenizer(tokenizer, texts, recipe.new_tokens)
    model.add_tokens(pieces)
    return grown


def _settled(recipe: Recipe, texts: Iterable[str], plan: Plan | None) -> tuple[Blueprint, Any]:
    """What a new model is made of, and its tokenizer."""
    assert recipe.blueprint is not None
    blueprint = plan.blueprint if plan is not None else recipe.blueprint
    tokenizer = plan.tokenizer if plan is not None else None
    if tokenizer is None:
        tokenizer = given_tokenizer(recipe) or learn_tokenizer(texts, blueprint.prompt, recipe.vocabulary)
    if plan is None or not plan.speaks:
        own = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
        own |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        blueprint = blueprint.model_copy(update={"language": {**blueprint.language, **own}})
    return blueprint, tokenizer


def given_tokenizer(recipe: Recipe) -> Any | None:
    """The tokenizer that a recipe names; None if it names none.

    Raises:
        CheckpointError: If there is none in its folder, or it is damaged.
    """
    return None if recipe.tokenizer is None else read_tokenizer(recipe.tokenizer)


def keep_report(run: Path, report: Mapping[str, Any], blueprint: BaseModel, tokenizer: Any) -> None:
    """Write into a run's folder what became of every tensor.

    Args:
        run: The folder.
        report: What became of them.
        blueprint: Of the model that the run begins with, which the sources' small files decide too.
        tokenizer: Its tokenizer, likewise.

    Raises:
        CheckpointError: If the run has begun, and what it began with cannot be read.
        ConfigError: If it is not the same any more.
    """
    file, whole = run / LOAD_REPORT, {**report, "description": _description(blueprint, tokenizer)}
    if (run / RUN).is_file():
        before = _kept(file)
        now = _fingerprints(whole)
        changed = [name for name, print_ in now.items() if before.get(name, print_) != print_]
        if changed:
            raise ConfigError(
                run,
                f"what it took has changed since it began: {', '.join(changed)}",
                "put it back as it was, or choose another `name`",
            )
    write_json(file, whole)


def _kept(file: Path) -> dict[str, str]:
    """What a run's report says it began with; nothing, if it has none."""
    if not file.exists():
        return {}
    try:
        return _fingerprints(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise CheckpointError(
            file,
            f"is damaged, and tells what the run began with: {type(error).__name__}",
            "delete the run's folder and train again",
        ) from error


def _fingerprints(report: Mapping[str, Any]) -> dict[str, str]:
    sources = report.get("sources", [report])
    found = {f"weights of {one.get('name', one.get('folder'))}": str(one["fingerprint"]) for one in sources}
    described = {_DESCRIBED: str(report["description"])} if "description" in report else {}
    return found | described


def _description(blueprint: BaseModel, tokenizer: Any) -> str:
    """SHA-256 of all that a model is besides its weights."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = json.dumps(sorted(tokenizer.get_vocab().items())) if backend is None else backend.to_str()
    return hashlib.sha256(f"{blueprint.model_dump_json()}\n{words}".encode()).hexdigest()
