"""What a part is, where a recipe and the source of its weights both say something about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError
from transformers import AutoConfig

from vidapt import parts
from vidapt.errors import ConfigError, nearest
from vidapt.recipe import Spec, Text, TextPart

LANGUAGE_CHOICES = frozenset(
    {"attention_dropout", "max_position_embeddings", "rope_parameters", "rope_scaling"}
)
"""Fields of a language model that may be chosen anew: how it learns, and how far its positions reach."""

WEIGHTS = "weights"


class FieldError(ConfigError):
    """A field of a part that cannot be; `where` is its place within the part."""


@dataclass(frozen=True)
class Turned:
    """How a tower of one kind is read as one of another.

    Attributes:
        arch: Model types that can be.
        begins: Tensors of the other kind that begin at random.
        described: Fields that say how these are.
        left: Beginnings of the names of tensors that it does not read, and why.
    """

    arch: tuple[str, ...]
    begins: tuple[str, ...] = ()
    described: tuple[str, ...] = ()
    left: Mapping[str, str] = field(default_factory=dict)

    def seen_as(self, found: Spec, given: Spec) -> Spec:
        """A tower as data, once it is read as one of the kind that the recipe gives.

        Args:
            found: As its source has it.
            given: As the recipe has it. What begins at random is described by the recipe.
        """
        if given.get("kind", found["kind"]) == found["kind"]:
            return found
        own = {key: given[key] for key in self.described if key in given}
        kept = {key: value for key, value in found.items() if key in ("arch", "mean", "std")}
        return {"kind": given["kind"], **kept, **own}


_CLIP = ("clip_vision_model",)
_PROJECTION = {"projection.": "the tower is read before its projection"}
_IN_TIME = Turned(_CLIP, begins=("added", "temporal"), described=("added", "frames", "added_seen"))

TURNED: Mapping[tuple[str, str], Turned] = {
    ("frame_vit", "clip_vip"): _IN_TIME,
    ("long_clip", "clip_vip"): replace(_IN_TIME, left=_PROJECTION),
    ("long_clip", "frame_vit"): Turned(_CLIP, left=_PROJECTION),
    ("frame_vit", "siglip_navit"): Turned(
        ("siglip_vision_model",), left={"net.head.": "the tower is read without its pooling head"}
    ),
}
"""By both kinds. CLIP-ViP begins with image CLIP as published: no table of times, proxies by chance."""


def turned(found: Spec, given: Spec) -> Turned:
    """How a tower is read as one of the kind that a recipe gives; as it is, if it gives none.

    Raises:
        FieldError: If it cannot be.
    """
    own = str(found["kind"])
    kind = str(given.get("kind", own))
    if kind == own:
        return Turned(())
    how = TURNED.get((own, kind))
    if how is None or found["arch"]["model_type"] not in how.arch:
        others = [b for a, b in TURNED if a == own and found["arch"]["model_type"] in TURNED[a, b].arch]
        raise FieldError(
            "kind", f"is {kind!r}, its weights are those of {own!r}", f"it can be {', '.join([own, *others])}"
        )
    return how


def settled(family: parts.Family, given: Spec, found: Spec) -> Spec:
    """A part as data: what its source says, with the choices that the recipe makes.

    Args:
        family: What kind of part.
        given: By the recipe; `weights` and `kind` are passed over.
        found: By the source, with its `kind`.

    Raises:
        FieldError: Naming the first field that is unknown, or contradicts the source.
    """
    config = parts.find(family, found["kind"]).Config
    asked = {key: value for key, value in given.items() if key not in (WEIGHTS, "kind")}
    for key in asked.keys() - config.model_fields.keys():
        raise FieldError(key, f"{found['kind']} has no such field", nearest(key, config.model_fields))
    if "arch" in asked:
        _same_arch("arch.", asked.pop("arch"), found["arch"])
    chosen = {**found, **asked}
    try:
        ours, theirs = parts.configure(family, chosen), parts.configure(family, found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise FieldError(".".join(map(str, first["loc"])) or str(found["kind"]), first["msg"]) from error
    for key in sorted(asked.keys() - config.choices):
        _same(key, getattr(ours, key), getattr(theirs, key))
    return chosen


def settled_language(given: Spec, found: Spec) -> Spec:
    """A language model's configuration, likewise.

    Raises:
        FieldError: Naming the first field that is unknown, or contradicts the source.
    """
    asked = {key: value for key, value in given.items() if key != WEIGHTS}
    chosen = {key: value for key, value in asked.items() if key in LANGUAGE_CHOICES}
    rest = {key: value for key, value in asked.items() if key not in chosen}
    _same_arch("", rest, found)
    unknown = chosen.keys() - set(_known(found)) - {"rope_scaling"}
    for key in unknown:
        raise FieldError(key, f"{found['model_type']} has no such field", nearest(key, _known(found)))
    return {**found, **chosen}


def settled_text(given: TextPart, found: Text) -> Text:
    """A text tower as data, likewise.

    Raises:
        FieldError: Naming the first field that contradicts the source.
    """
    _same_arch("arch.", given.arch, found.arch)
    if given.kept is not None:
        _same("kept", given.kept, found.kept)
    return found


def _same_arch(prefix: str, given: Spec, found: Spec) -> None:
    """See that what is given of a transformers configuration is so."""
    effective = AutoConfig.for_model(**found)
    for key, value in given.items():
        if key != "model_type" and not hasattr(effective, key):
            raise FieldError(
                f"{prefix}{key}", f"{found['model_type']} has no such field", nearest(key, _known(found))
            )
        own = found["model_type"] if key == "model_type" else getattr(effective, key)
        _same(f"{prefix}{key}", value, own)


def _known(spec: Spec) -> Iterator[str]:
    yield from (key for key in AutoConfig.for_model(**spec).to_dict() if not key.startswith("_"))


def _same(key: str, given: Any, found: Any) -> None:
    if _plain(given) != _plain(found):
        raise FieldError(key, f"is {given!r}, its weights have {found!r}", "leave it out")


def _plain(value: Any) -> Any:
    """As it is in JSON, where a tuple is a list."""
    return json.loads(json.dumps(value, default=str))
