"""What is wrong inside a recipe's parts, whose fields only the parts themselves know.

Importing this module imports no torch; looking at parts and language models does.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import ValidationError

from vidapt import parts
from vidapt.errors import ConfigError, nearest
from vidapt.strict import Weights
from vidapt.yaml_lines import Lines, Where, describe

_OLDER_KEYS = frozenset({"rope_theta", "rope_scaling", "partial_rotary_factor", "torch_dtype"})
"""Keys of language models that transformers still translates."""

_SINGLE: tuple[tuple[parts.Family, str], ...] = (
    ("connectors", "connector"),
    ("resolutions", "resolution"),
    ("positions", "positions"),
)


@dataclasses.dataclass(frozen=True)
class _Place:
    """A part as it stands in a recipe.

    Attributes:
        family: What kind of part.
        spec: Its `kind` and fields.
        kind: Where its `kind` stands.
        fields: Where its fields stand.
    """

    family: parts.Family
    spec: dict[str, Any]
    kind: Where
    fields: Where


def part_problems(data: Any, lines: Lines) -> Iterator[str]:
    """Every mistake inside a part, a label format's options or the language model, one line of text each.

    Args:
        data: The recipe as plain values; what is not shaped like a recipe is passed over.
        lines: Where everything stands.
    """
    if not isinstance(data, dict):
        return
    outside = (*_in_sources(data.get("data"), ("data",)), *_in_stages(data.get("stages")))
    reads = _in_reading(data.get("reads"), "reads")
    for place in (*_in_blueprint(data.get("blueprint")), *_in_dual(data.get("dual")), *reads, *outside):
        begun = "weights" in place.spec and place.family in ("towers", "connectors")
        yield from (_begun_problems if begun else _own_problems)(place, lines)
    blueprint = data.get("blueprint")
    if isinstance(blueprint, dict) and isinstance(blueprint.get("language"), dict):
        yield from _language_problems(blueprint["language"], lines)


def _own_problems(place: _Place, lines: Lines, *, partial: bool = False) -> Iterator[str]:
    """What is wrong with a part's fields; of a `partial` one, nothing is missing."""
    try:
        parts.configure(place.family, place.spec)
    except ConfigError as error:
        begins = "kind" not in place.spec and place.family in ("towers", "connectors")
        also = "; or begin with a model's: `weights`" if begins else ""
        yield _line(lines, place.kind, f"{error.found}; {error.remedy}{also}")
    except ValidationError as error:
        config = parts.find(place.family, place.spec["kind"]).Config
        yield from describe(error, config, lines, prefix=place.fields, partial=partial)
    else:
        if not partial:
            yield from _tower_problems(place, lines)


def _begun_problems(place: _Place, lines: Lines) -> Iterator[str]:
    """What can be told of a part that begins with another one's weights before these are looked at."""
    yield from _weights_problems(place.spec["weights"], (*place.fields, "weights"), lines)
    own = {key: value for key, value in place.spec.items() if key != "weights"}
    if "kind" in own:
        yield from _own_problems(dataclasses.replace(place, spec=own), lines, partial=True)
        return
    known = {
        field
        for kind in parts.kinds(place.family)
        for field in parts.find(place.family, kind).Config.model_fields
    }
    for key in own.keys() - known:
        yield _line(lines, (*place.fields, key), f"unknown key; {nearest(str(key), known)}")


def _weights_problems(weights: Any, where: Where, lines: Lines) -> Iterator[str]:
    try:
        Weights.model_validate(weights)
    except ValidationError as error:
        yield from describe(error, Weights, lines, prefix=where)


def _in_blueprint(blueprint: Any) -> Iterator[_Place]:
    if not isinstance(blueprint, dict):
        return
    towers = blueprint.get("towers")
    for index, tower in enumerate(towers if isinstance(towers, list) else ()):
        if isinstance(tower, dict):
            yield _place("towers", tower, ("blueprint", "towers", index))
    yield from _in_reading(blueprint, "blueprint")


def _in_reading(data: Any, name: str) -> Iterator[_Place]:
    """Parts that say how clips are read, of a blueprint or of `reads`."""
    if not isinstance(data, dict):
        return
    for family, key in _SINGLE:
        if isinstance(data.get(key), dict):
            yield _place(family, data[key], (name, key))
    scenes = data.get("scenes")
    for scene, resolution in (scenes if isinstance(scenes, dict) else {}).items():
        if isinstance(resolution, dict):
            yield _place("resolutions", resolution, (name, "scenes", scene))


def _in_dual(dual: Any) -> Iterator[_Place]:
    places: tuple[tuple[parts.Family, str], ...] = (("towers", "tower"), ("resolutions", "resolution"))
    for family, key in places:
        if isinstance(dual, dict) and isinstance(dual.get(key), dict):
            yield _place(family, dual[key], ("dual", key))


def _in_stages(stages: Any) -> Iterator[_Place]:
    for index, stage in enumerate(stages if isinstance(stages, list) else ()):
        if not isinstance(stage, dict):
            continue
        if isinstance(stage.get("objective"), dict):
            where: Where = ("stages", index, "objective")
            yield _place("objectives", stage["objective"], where)
            yield from _in_terms(stage["objective"].get("terms"), (*where, "terms"))
        yield from _in_sources(stage.get("data"), ("stages", index, "data"))
        for kind in ("retrieval", "measure"):
            sets = stage.get(kind)
            for name, sources in (sets if isinstance(sets, dict) else {}).items():
                yield from _in_sources(sources, ("stages", index, kind, name))


def _in_terms(terms: Any, where: Where) -> Iterator[_Place]:
    """The summands of an objective; `name` and `weight` are the sum's."""
    for index, term in enumerate(terms if isinstance(terms, list) else ()):
        if isinstance(term, dict):
            own = {key: value for key, value in term.items() if key not in ("name", "weight")}
            yield _place("objectives", own, (*where, index))


def _in_sources(sources: Any, where: Where) -> Iterator[_Place]:
    for index, source in enumerate(sources if isinstance(sources, list) else [sources]):
        if isinstance(source, dict) and isinstance(source.get("format"), str):
            options = source.get("options")
            spec = {**(options if isinstance(options, dict) else {}), "kind": source["format"]}
            yield _Place("formats", spec, (*where, index, "format"), (*where, index, "options"))


def _place(family: parts.Family, spec: dict[str, Any], where: Where) -> _Place:
    return _Place(family, spec, (*where, "kind"), where)


def _tower_problems(place: _Place, lines: Lines) -> Iterator[str]:
    """What only making a tower tells: numbers that are sizes, but of no tower. Others' parts are not made."""
    if place.family != "towers" or ":" in place.spec["kind"]:
        return
    arch, where = place.spec.get("arch"), (*place.fields, "arch")
    unknown = _unknown_keys(arch, where, lines) if isinstance(arch, dict) else {}
    yield from unknown.values()
    if not unknown:
        import torch

        with torch.device("meta"):  # without weights
            yield from _failure(lambda: parts.build("towers", place.spec), place.fields, lines)


def _language_problems(spec: dict[str, Any], lines: Lines) -> Iterator[str]:
    from transformers import CONFIG_MAPPING

    where: Where = ("blueprint", "language")
    if "weights" in spec:
        yield from _weights_problems(spec["weights"], (*where, "weights"), lines)
        own = {key: value for key, value in spec.items() if key != "weights"}
        yield from _unknown_keys(own, where, lines).values()
        return
    kind = spec.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        if kind:
            said = f"no language model is called {kind!r}; {nearest(str(kind), CONFIG_MAPPING)}"
        else:
            said = "is required: one of transformers, such as llama; or begin with a model's: `weights`"
        yield _line(lines, (*where, "model_type"), said)
        return
    unknown = _unknown_keys(spec, where, lines)
    yield from unknown.values()
    known = {key: value for key, value in spec.items() if key != "model_type" and key not in unknown}

    def made() -> None:
        parts.refuse_endless(known, "language")
        CONFIG_MAPPING[kind](**known)

    yield from _failure(made, where, lines)


def _unknown_keys(spec: dict[str, Any], where: Where, lines: Lines) -> dict[Any, str]:
    """Keys that a transformers configuration does not know, each with its line of text.

    Transformers takes any key without a word, so a misspelt size would silently be its default.
    """
    from transformers import CONFIG_MAPPING

    kind = spec.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        return {}
    config = CONFIG_MAPPING[kind]
    known = {field.name for field in dataclasses.fields(config)} | set(config.attribute_map) | _OLDER_KEYS
    odd = [key for key in spec if key != "model_type" and key not in known]
    return {key: _line(lines, (*where, key), f"unknown key; {nearest(str(key), known)}") for key in odd}


def _failure(attempt: Callable[[], object], where: Where, lines: Lines) -> Iterator[str]:
    """What an attempt to make something of transformers' fails with, as one line of text."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Initializing zero-element tensors", UserWarning)
            attempt()
    except ConfigError as error:
        yield _line(lines, where, f"{error.where}: {error.found}; {error.remedy}")
    # Whatever transformers and torch raise over sizes that they cannot do with.
    except (
        StrictDataclassError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        ImportError,
        LookupError,
        RuntimeError,
        TypeError,
        UserWarning,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())
        # These say it in a sentence; others' words, such as `'x'`, need the kind of error to be understood.
        plain = isinstance(error, StrictDataclassError | ValueError | TypeError)
        yield _line(lines, where, reason if plain else f"cannot be made: {type(error).__name__}: {reason}")


def _line(lines: Lines, where: Where, said: str) -> str:
    return f"{lines.label(where)}: {'.'.join(map(str, where))}: {said}"
