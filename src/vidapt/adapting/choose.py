"""The recipe that suits a base and its data: a shipped one, changed where the data say so."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from vidapt.adapting.base import SMALL, Base
from vidapt.adapting.decisions import Decision, Decisions
from vidapt.adapting.facts import Facts
from vidapt.adapting.job import Places, Request
from vidapt.errors import ConfigError
from vidapt.files import write_text
from vidapt.recipe import Recipe, load_recipe
from vidapt.recipe.shipped import recipe_path
from vidapt.video import Uniform
from vidapt.yaml_lines import Lines, apply_overrides, parse_yaml

LARGE = "my-clips-lora"
"""Recipe for models that were trained at a price."""

REFERENCE = 200
"""Clips for which the epochs of both recipes are meant."""

_MANY = 10_000
"""Clips above which these recipes are no good start, and a person should choose."""

_MOST_OFTEN = 3
"""Times so many epochs as a recipe has, at most."""

_ENOUGH_FOR_EYES = 1000
"""Clips from which on a large model's tower is tuned, too: with fewer it forgot (HiLight 2024)."""

_SPARSE_S, _CLOSE_S, _MOST_FRAMES = 4.0, 2.0, 64
"""Seconds between two frames: too many, and wanted then. And how many frames there are at most."""

_WIDTH = 100


def choose_recipe(
    request: Request, base: Base, facts: Facts, device: str, places: Places, decisions: Decisions
) -> Recipe:
    """Write `recipe.yaml`, in which stands what was decided, and read it.

    Raises:
        ConfigError: If a change that was asked for makes no recipe; nothing is left of it then.
    """
    source = LARGE if base.large else SMALL
    data, _ = parse_yaml(recipe_path(source))
    why = (
        f"{base.parameters / 1e9:.1f} billion weights are too many to learn from {facts.clips} clips"
        if base.large
        else "a small model learns in full: first the words, on features that are kept, then all of it"
    )
    decisions.make("recipe", source, why)
    if facts.clips > _MANY:
        advice = f"{facts.clips} clips are more than {source} is meant for: see `vidapt recipes`"
        decisions.make("another recipe", "look for one by hand", advice)
    data |= {"name": request.name, "start": base.name, "data": "data/train.jsonl"}
    _set_words(data, base, decisions)
    _set_frames(data, base, facts, decisions)
    _set_stages(data["stages"], base, facts, device, decisions)
    if request.general is not None:
        _watch_general(data["stages"], request.general, decisions)
    apply_overrides(data, request.changes, Lines())
    if request.changes:
        decisions.make("changes", ", ".join(request.changes), "given by --set")
    return _written(data, source, places, decisions)


def _set_stages(
    stages: list[dict[str, Any]], base: Base, facts: Facts, device: str, decisions: Decisions
) -> None:
    if base.large and facts.clips >= _ENOUGH_FOR_EYES:
        stages.append(_eyes(stages[-1]))
        why = f"{facts.clips} clips are enough to try it; it is kept only if it helps on held-out clips"
        decisions.make("eyes", "adapters in the tower too, at a tenth of the rate", why)
    for stage in stages:
        _set_batching(stage["batching"], facts)
        stage["epochs"] = epochs_of(stage["epochs"], facts.clips)
        if base.large:
            stage["precision"] = "bfloat16" if device.startswith("cuda") else "float32"
            stage["recompute"] = True
            stage["batching"]["memory"] = "auto"
    _tell_batching(stages, facts, decisions)
    length = ", ".join(f"{stage['name']} {stage['epochs']:g} epochs" for stage in stages)
    decisions.make("length", length, f"{facts.clips} clips: the fewer there are, the more often each is seen")
    if base.large:
        precision = stages[0]["precision"]
        decisions.make(
            "memory", f"{precision}, states computed again, as many clips at once as fit", f"on {device}"
        )


def _watch_general(stages: list[dict[str, Any]], labels: Path, decisions: Decisions) -> None:
    """Ask what is to be kept at every checkpoint, so that the run shows when something is forgotten."""
    for stage in stages:
        stage["measure"] = {"general": os.path.realpath(labels)}
    decisions.make(
        "general", labels.name, "asked at every checkpoint and at the end: what is forgotten shows"
    )


def _eyes(words: Mapping[str, Any]) -> dict[str, Any]:
    """A stage in which adapters of the tower learn beside those of the language model, more slowly."""
    rates = words["optimizer"]["rates"]
    optimizer = {**words["optimizer"], "rates": {**rates, "towers": rates["language"] / 10}}
    train = {**words["train"], "towers": "lora"}
    return {
        **words,
        "name": "eyes",
        "train": train,
        "optimizer": optimizer,
        "cache": {"keep": "frames"},
        "epochs": 1,
    }


def epochs_of(epochs: float, clips: int) -> int:
    """A recipe's epochs for so many clips: they fall with the root of their number."""
    often = (REFERENCE / max(1, clips)) ** 0.5
    return int(max(1, round(epochs * min(often, _MOST_OFTEN))))


def _set_batching(batching: dict[str, Any], facts: Facts) -> None:
    batching["questions"] = max(1, min(batching.get("questions", facts.most), facts.most))
    batching["apart"] = facts.conversations > 0
    batching.setdefault("blind", 0.05)


def _tell_batching(stages: list[dict[str, Any]], facts: Facts, decisions: Decisions) -> None:
    batching = stages[0]["batching"]
    most = f"{batching['clips']} clips a step, up to {batching['questions']} questions of each"
    decisions.make("steps", most, f"a clip has up to {facts.most}; all ride behind one copy of it")
    if facts.conversations:
        why = f"{facts.conversations} rows ask several questions: in a fixed order, a model learns the order"
        decisions.make("conversations", "taken apart, each question alone", why)
    share = f"{100 * batching['blind']:g} % of visits without the clip"
    decisions.make("blind", share, "so that the control without video is an answer and no babble")


def _set_words(data: dict[str, Any], base: Base, decisions: Decisions) -> None:
    """The domain's words become tokens, but of a published model, whose tokens belong to its format."""
    if base.published:
        data.pop("new_tokens", None)
    elif "new_tokens" in data:
        why = "so that the labels' words are whole; a small model has to spell what it has no token for"
        decisions.make("words", f"up to {data['new_tokens']} new tokens", why)


def _set_frames(data: dict[str, Any], base: Base, facts: Facts, decisions: Decisions) -> None:
    """More frames where they lie far apart, if the model can take more."""
    if facts.seconds is None or not isinstance(base.frames, Uniform):
        return
    middle, long = facts.seconds
    between = middle / base.frames.count
    told = f"clips of {middle:.3g} s: a frame every {between:.2g} s"
    if between <= _SPARSE_S:
        decisions.make("frames", f"{base.frames.count} of a clip, as the base has it", told)
    elif base.large:
        count = min(_MOST_FRAMES, max(base.frames.count, round(long / _CLOSE_S)))
        data["reads"] = {
            "frames": {**base.frames.model_dump(exclude_defaults=True), "policy": "uniform", "count": count}
        }
        decisions.make("frames", f"{count} of a clip, in place of {base.frames.count}", told)
    else:
        advice = f"{told}, and what happens between is not seen: cut them into shorter ones"
        decisions.make("frames", f"{base.frames.count} of a clip, all that this base can take", advice)


def _written(data: Mapping[str, Any], source: str, places: Places, decisions: Decisions) -> Recipe:
    head = (
        f"# Made by `vidapt adapt` from the recipe {source}. To go on by hand, change it and its `name`:\n#\n"
    )
    head += f"#   vidapt train {places.recipe.name}\n#\n# What was decided, and why:\n#\n"
    notes = "".join(f"{line}\n" for one in decisions for line in _comment(one))
    write_text(
        places.recipe,
        head + notes + yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=_WIDTH),
    )
    try:
        return load_recipe(places.recipe)
    except ConfigError:
        places.recipe.unlink()
        raise


def _comment(decision: Decision) -> Iterator[str]:
    text = " ".join(str(decision).split())
    return iter(textwrap.wrap(text, _WIDTH, initial_indent="# - ", subsequent_indent="#   "))
