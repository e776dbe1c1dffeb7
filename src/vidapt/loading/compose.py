"""A new video-language model out of parts of others.

A recipe says whose weights each part begins with; what the part is comes from there, and is written out. All
that can be checked is checked by `plan`, which reads configurations; `Plan.make` reads weights.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig

from vidapt import parts
from vidapt.errors import CheckpointError
from vidapt.loading._fill import fill
from vidapt.loading._mistaken import At, Mistakes
from vidapt.loading._settle import WEIGHTS, FieldError, settled, settled_language
from vidapt.loading._sources import empty as empty
from vidapt.loading._taken import Sources as Sources
from vidapt.loading._taken import Taken, only, take_tower
from vidapt.models.lora import add_adapters
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint, Prompt, Spec

_NEWLINE = re.compile(r"(?:resolution|scenes\.\w+)\.newline")
"""What a resolution learns speaks the language model's language, as the connector does, and comes with it."""


@dataclass(frozen=True)
class Plan:
    """A new model before any weight is read.

    Attributes:
        blueprint: With every part written out.
        taken: The parts that begin with others' weights.
        tokenizer: What its language model reads; None if that begins at random and the recipe has none.
        prompt: Where the prompt comes from, in words.
    """

    blueprint: Blueprint
    taken: tuple[Taken, ...]
    tokenizer: Any | None
    prompt: str

    @property
    def speaks(self) -> bool:
        """Whether its language model begins with another one's weights."""
        return any(one.part == "language" for one in self.taken)

    def make(
        self, blueprint: Blueprint, *, seed: int, dtype: torch.dtype = torch.float32
    ) -> tuple[VideoLM, dict[str, Any]]:
        """Make the model.

        Args:
            blueprint: The plan's; with a vocabulary, where the language model begins at random.
            seed: Of what begins at random.
            dtype: Number format of the weights in memory.

        Returns:
            The model in evaluation mode, and what became of every tensor; see `fill`.

        Raises:
            CheckpointError: If a source is damaged, or does not hold what describes it.
        """
        model = empty(blueprint.model_copy(update={"adapters": None}))
        torch.manual_seed(seed)
        report = fill(model, self.taken, _fresh(model, self.taken), dtype)
        model.tie_weights()
        if blueprint.adapters is not None:
            add_adapters(model.language, blueprint.adapters)
            model.blueprint = blueprint
        return model.eval(), {**report, "prompt": self.prompt}


def is_composed(blueprint: Blueprint) -> bool:
    """Whether any part of a model begins with another one's weights."""
    return any(WEIGHTS in spec for spec in (*blueprint.towers, blueprint.connector, blueprint.language))


def plan(blueprint: Blueprint, sources: Sources, at: At, tokenizer: Any | None = None) -> Plan:
    """Settle what every part is.

    Args:
        blueprint: As a recipe has it.
        sources: Finds them.
        at: Names places in the recipe.
        tokenizer: The recipe's own, if it has one.

    Raises:
        ConfigError: Listing every mistake with its place, what was found and how to mend it.
    """
    mistakes, taken = Mistakes(at), list[Taken]()
    towers, count = list(blueprint.towers), len(blueprint.towers)
    for index, spec in enumerate(blueprint.towers):
        with mistakes.of("blueprint", "towers", index):
            towers[index] = take_tower(spec, f"towers.{index}", (index, count), sources, taken)
    connector, language = blueprint.connector, blueprint.language
    prompt, told = blueprint.prompt, "the recipe"
    with mistakes.of("blueprint", "connector"):
        connector = _connector(connector, sources, taken)
    with mistakes.of("blueprint", "language"):
        language = _language(language, sources, taken)
    for one in [one for one in taken if one.part == "language"]:
        with mistakes.of("blueprint", "language"):
            tokenizer = _tokenizer(one, language, tokenizer)
            with mistakes.of("blueprint", "prompt"):
                prompt, told = _prompt(one, blueprint, tokenizer)
    mistakes.tell()
    update = {"towers": tuple(towers), "connector": connector, "language": language, "prompt": prompt}
    whole = blueprint.model_copy(update=update)
    model = empty(whole.model_copy(update={"adapters": None}))
    with mistakes.of("blueprint", "connector"):
        taken = [_joined(one, model) if one.part == "connector" else one for one in taken]
    mistakes.tell()
    return Plan(whole, tuple(taken), tokenizer, told)


def _connector(spec: Spec, sources: Sources, taken: list[Taken]) -> Spec:
    if WEIGHTS not in spec:
        return spec
    source, part = sources.of(spec[WEIGHTS])
    whole = source.whole if isinstance(source.whole, Blueprint) else None
    found = only(source, part, "connector", whole and whole.connector)
    if spec.get("kind", found["kind"]) != found["kind"]:
        raise FieldError(
            "kind", f"is {spec['kind']!r}, its weights are those of {found['kind']!r}", "leave it out"
        )
    connector = settled("connectors", spec, found)
    taken.append(Taken("connector", "connector", source))
    return connector


def _language(spec: Spec, sources: Sources, taken: list[Taken]) -> Spec:
    if WEIGHTS not in spec:
        return spec
    source, part = sources.of(spec[WEIGHTS])
    found = only(source, part, "language", source.language)
    language = settled_language(spec, found)
    taken.append(Taken("language", "language", source))
    return language


def _tokenizer(one: Taken, language: Spec, given: Any | None) -> Any:
    """The recipe's tokenizer or the language model's own, of which the model knows every entry."""
    source, rows = one.source, AutoConfig.for_model(**language).vocab_size
    assert source.tokenizer is not None
    try:
        tokenizer = source.tokenizer() if given is None else given
    except CheckpointError as error:
        reason = error.found.partition("\\n")[0]  # of an exception's long text in quotes
        raise FieldError(
            WEIGHTS,
            f"{source.name} is a language model without a tokenizer that can be read: {reason}",
            f"{error.remedy}; or give the recipe a `tokenizer`",
        ) from error
    if len(tokenizer) > rows:
        whose = "its tokenizer" if given is None else "the recipe's `tokenizer`"
        raise FieldError(
            WEIGHTS,
            f"{source.name} knows {rows} tokens, {whose} has {len(tokenizer)}",
            "give the `tokenizer` that it was trained with",
        )
    return tokenizer


def _prompt(one: Taken, blueprint: Blueprint, tokenizer: Any) -> tuple[Prompt, str]:
    if "prompt" in blueprint.model_fields_set:
        return blueprint.prompt, "the recipe"
    assert one.source.prompt is not None
    try:
        return one.source.prompt(tokenizer)
    except CheckpointError as error:
        raise FieldError(
            "",
            f"is not given: {error.found}",
            "say how the model is spoken to, such as {user: 'USER: {text}', opening: ' ASSISTANT:'}",
        ) from error


def _joined(one: Taken, model: VideoLM) -> Taken:
    """A connector that fits between the model's parts, with the newline of its source."""
    assert one.source.shape is not None
    source = one.source.shape()
    ours, theirs = _widths(model), _widths(source)
    if ours != theirs:
        raise FieldError(
            WEIGHTS,
            f"the connector of {one.source.name} joins features of {theirs[0]} numbers and words of "
            f"{theirs[1]}, here they have {ours[0]} and {ours[1]}",
            "leave `weights` out, so that it begins at random, or take all parts from there",
        )
    known = [name for name in source.state_dict() if _NEWLINE.fullmatch(name)]
    wanted = [name for name in model.state_dict() if _NEWLINE.fullmatch(name)]
    return dataclasses.replace(one, also={name: known[0] for name in wanted if known})


def _widths(model: VideoLM) -> tuple[str, int]:
    """Of the features of a model's towers, and of its words."""
    features = " and ".join(str(tower.width) for tower in model.towers)
    return features, model.language.get_input_embeddings().embedding_dim


def _fresh(model: VideoLM, taken: tuple[Taken, ...]) -> dict[str, Tensor]:
    """Tensors at random for what is not taken, or not all."""
    blueprint, have = model.blueprint, {one.part for one in taken if not one.begins}
    if "language" not in have:  # nothing that is large, then: all of it is made
        return VideoLM(blueprint).state_dict()
    widths = tuple(tower.width for tower in model.towers)
    width = model.language.get_input_embeddings().embedding_dim
    made: dict[str, Any] = {
        f"towers.{index}": parts.build("towers", spec)
        for index, spec in enumerate(blueprint.towers)
        if f"towers.{index}" not in have
    }
    if "connector" not in have:
        width_in = widths[0] if len(widths) == 1 else widths
        made["connector"] = parts.build("connectors", blueprint.connector, width_in=width_in, width_out=width)
    scenes = {f"scenes.{scene}": spec for scene, spec in blueprint.scenes.items()}
    for name, spec in {"resolution": blueprint.resolution, **scenes}.items():
        made[name] = parts.build("resolutions", spec, size=model.tower.size, width=width)
    modules = {name: module for name, module in made.items() if isinstance(module, nn.Module)}
    return {f"{name}.{key}": tensor for name, m in modules.items() for key, tensor in m.state_dict().items()}
