"""What is wrong inside a recipe's parts, whose fields only the parts themselves know.

Importing this module imports no torch; looking at parts and language models does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from vidapt import parts
from vidapt._yaml import Lines, Where, describe
from vidapt.errors import ConfigError, nearest

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
    for place in (*_in_blueprint(data.get("blueprint")), *_in_dual(data.get("dual")), *outside):
        try:
            parts.configure(place.family, place.spec)
        except ConfigError as error:
            yield f"{lines.label(place.kind)}: {_dotted(place.kind)}: {error.found}; {error.remedy}"
        except ValidationError as error:
            config = parts.find(place.family, place.spec["kind"]).Config
            yield from describe(error, config, lines, prefix=place.fields)
    blueprint = data.get("blueprint")
    if isinstance(blueprint, dict) and isinstance(blueprint.get("language"), dict):
        yield from _language_problems(blueprint["language"], lines)


def _in_blueprint(blueprint: Any) -> Iterator[_Place]:
    if not isinstance(blueprint, dict):
        return
    towers = blueprint.get("towers")
    for index, tower in enumerate(towers if isinstance(towers, list) else ()):
        if isinstance(tower, dict):
            yield _place("towers", tower, ("blueprint", "towers", index))
    for family, key in _SINGLE:
        if isinstance(blueprint.get(key), dict):
            yield _place(family, blueprint[key], ("blueprint", key))
    scenes = blueprint.get("scenes")
    for scene, resolution in (scenes if isinstance(scenes, dict) else {}).items():
        if isinstance(resolution, dict):
            yield _place("resolutions", resolution, ("blueprint", "scenes", scene))


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
        sets = stage.get("retrieval")
        for name, sources in (sets if isinstance(sets, dict) else {}).items():
            yield from _in_sources(sources, ("stages", index, "retrieval", name))


def _in_terms(terms: Any, where: Where) -> Iterator[_Place]:
    """The summands of an objective; `name` and `weight` are the sum's."""
    for index, term in enumerate(terms if isinstance(terms, list) else ()):
        if isinstance(term, dict):
            own = {key: value for key, value in term.items() if key not in ("name", "weight")}
            yield _place("objectives", own, (*where, index))


def _in_sources(sources: Any, where: Where) -> Iterator[_Place]:
    for index, source in enumerate(sources if isinstance(sources, list) else ()):
        if isinstance(source, dict) and isinstance(source.get("format"), str):
            options = source.get("options")
            spec = {"kind": source["format"], **(options if isinstance(options, dict) else {})}
            yield _Place("formats", spec, (*where, index, "format"), (*where, index, "options"))


def _place(family: parts.Family, spec: dict[str, Any], where: Where) -> _Place:
    return _Place(family, spec, (*where, "kind"), where)


def _language_problems(spec: Mapping[str, Any], lines: Lines) -> Iterator[str]:
    """Transformers takes any key without a word, so a misspelt size would silently be its default."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    where: Where = ("blueprint", "language")
    kind = spec.get("model_type")
    if kind not in CONFIG_MAPPING:
        hint = nearest(str(kind), CONFIG_MAPPING) if kind else "give a transformers model_type, such as llama"
        place = (*where, "model_type")
        yield f"{lines.label(place)}: {_dotted(place)}: no language model is called {kind!r}; {hint}"
        return
    config = CONFIG_MAPPING[kind]
    known = {field.name for field in dataclasses.fields(config)} | set(config.attribute_map) | _OLDER_KEYS
    unknown = [key for key in spec if key != "model_type" and key not in known]
    for key in unknown:
        place = (*where, key)
        yield f"{lines.label(place)}: {_dotted(place)}: unknown key; {nearest(str(key), known)}"
    try:
        config(**{key: value for key, value in spec.items() if key in known})
    except (StrictDataclassError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        yield f"{lines.label(where)}: {_dotted(where)}: {reason}"


def _dotted(where: Where) -> str:
    return ".".join(map(str, where))
