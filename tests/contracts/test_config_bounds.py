"""What numbers a part's fields take, and the ones next to them that are refused, as its docs say them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import annotated_types
import pytest
from pydantic import ValidationError

from vidapt.objectives.distill import Teacher
from vidapt.parts import FAMILIES, Family, configure, find, kinds
from vidapt.recipe import Prune

UNDER_1, ABOVE_0, ABOVE_1 = math.nextafter(1, 0), math.nextafter(0, 1), math.nextafter(1, 2)
DUAL = {"look_alikes": "excluded"}


class Row(NamedTuple):
    """One field: what it is without a word, and where its bounds are."""

    default: object
    refused: tuple[object, ...]
    taken: tuple[object, ...]
    beside: Mapping[str, Any] = MappingProxyType({})
    """What else has to be said for the field to make sense."""


def above_zero(default: int | None) -> Row:
    return Row(default, (0, -1), (1, 2))


def not_negative(default: float) -> Row:
    return Row(default, (-1, -ABOVE_0 if isinstance(default, float) else -1), (0, 1))


OBJECTIVES = {
    "align.terms": Row(None, ((),), (({"kind": "margin"},),)),
    "align.max_scale": Row(200.0, (1, 0.5), (ABOVE_1, 2)),
    "align.near_chance": Row(0.02, (-ABOVE_0, 1), (0, UNDER_1)),
    "align.patience": above_zero(20),
    "collapse.token_weight": not_negative(1.0),
    "collapse.patch_weight": not_negative(1.0),
    "collapse.above": Row(0.0, (-ABOVE_0, 1), (0, UNDER_1)),
    "collapse.rows": Row(256, (1,), (2,)),
    "contrastive.look_alike_weight": Row(1.0, (0, -1), (ABOVE_0,)),
    "contrastive.duplicate_above": Row(None, (-ABOVE_1, ABOVE_1), (-1, 0, 1), DUAL),
    "contrastive.components": above_zero(None),
    "contrastive.smoothing": Row(0.0, (-ABOVE_0, 1), (0, UNDER_1)),
    "distill.teachers": Row(None, ({},), ({"a": "b"},)),
    "distill.cosine": Row(0.9, (-ABOVE_0, ABOVE_1), (0, 1)),
    "distill.depth": not_negative(2),
    "distill.width": above_zero(None),
    "local_align.sigma": Row(None, (-ABOVE_0, ABOVE_1), (0, 1)),
    "local_align.k": Row(None, (0,), (1,), {"sparsify": "top_k"}),
    "local_align.q": Row(None, (-ABOVE_0, 1), (0, UNDER_1), {"sparsify": "quantile"}),
    "local_align.duplicate_above": Row(None, (-ABOVE_1, ABOVE_1), (-1, 0, 1), DUAL),
    "local_align.temperature": Row(0.07, (0.0099, 0), (0.01, 1)),
    "margin.margin": Row(0.1, (0, math.nextafter(2, 3)), (ABOVE_0, 2)),
    "next_token.smoothing": Row(0.0, (-ABOVE_0, 1), (0, UNDER_1)),
    "next_token.head_rows": above_zero(8192),
    "track_state.things": above_zero(8),
    "track_state.window": above_zero(None),
    "track_state.place": not_negative(0.5),
    "track_state.events": not_negative(1.0),
}
OTHERS = {
    "resolutions": {
        "anyres.most_tiles": above_zero(None),
        "framed.stride": above_zero(2),
        "native.factor": above_zero(28),
        "native.min_pixels": above_zero(3136),
        "native.max_pixels": Row(1003520, (0,), (3136,)),
        "native.total_pixels": Row(None, (0,), (3136,)),
        "native.frame_pixels": Row(None, (0,), (3136,), {"over": "clip"}),
        "native.frames_per_slice": above_zero(2),
        "native.max_aspect": Row(200.0, (UNDER_1,), (1,)),
        "slices.max_slices": above_zero(9),
        "slices.side": Row(448, (0,), (14,)),
        "slices.patch": above_zero(14),
        "slices.many": above_zero(16),
        "slices.max_slices_of_many": above_zero(1),
        "tiles.most": Row(12, (0, 145), (1, 144)),
        "tiles.least": Row(1, (0, 145), (1, 144), {"most": 144}),
        "tiles.longest": Row(None, (0, 4097), (1, 16)),
        "two_scale.fine": Row(768, (0,), (768,)),
        "two_scale.grid": Row(1, (0,), (1, 2), {"overview": False}),
    },
    "towers": {
        "clip_vip.added": not_negative(3),
        "clip_vip.frames": above_zero(12),
        "conv_vip.frames": above_zero(18),
        "conv_vip.width": Row(96, (0, 9, 12), (8, 16), {"heads": 1}),
        "conv_vip.stem": Row(64, (0, 9, 12), (8, 16)),
        "conv_vip.blocks": not_negative(1),
        "conv_vip.heads": above_zero(4),
        "conv_vip.proxies": above_zero(4),
        "convnext.frames_at_once": above_zero(4),
        "dinov2.frames_at_once": above_zero(32),
        "frame_vit.frames_at_once": above_zero(32),
        "intern_vit.frames_at_once": above_zero(16),
        "long_clip.frames_at_once": above_zero(32),
        "qwen2_5_vit.patches_at_once": above_zero(8192),
        "qwen2_vit.patches_at_once": above_zero(8192),
        "qwen3_vit.patches_at_once": above_zero(8192),
        "siglip_navit.frames_at_once": above_zero(16),
        "siglip_navit.merge": Row(2, (0,), (1, 2)),
        "siglip_navit.merge_behind": Row(None, (-1,), (0,)),
    },
    "connectors": {
        "global_local.depth": above_zero(2),
        "merge_mlp.stride": above_zero(2),
        "pixel_shuffle.depth": above_zero(2),
        "pixel_shuffle.eps": Row(1e-5, (0, -1e-9), (1e-9,)),
        "pixel_shuffle.stride": above_zero(2),
        "patch_mining.depth": above_zero(2),
        "patch_mining.frames_at_once": above_zero(1),
        "pool_mlp.depth": above_zero(2),
        "pool_mlp.extra_per_clip": not_negative(0),
        "pool_mlp.extra_per_frame": not_negative(0),
        "resampler.queries": Row(64, (0, -1), (1, 4)),
        "resampler.head_width": above_zero(128),
        "resampler.join": Row(1, (0, 7), (1, 6)),
        "resampler.seconds": Row(None, (0,), (ABOVE_0,)),
        "resampler.groups_at_once": above_zero(16),
        "token_mining.rows": above_zero(32),
        "track.slots": above_zero(12),
        "track.scene": not_negative(4),
        "track.frames": above_zero(18),
        "track.looks": above_zero(4),
        "track.hidden": Row(192, (7,), (8,)),
        "track.layers": not_negative(2),
        "track.heads": above_zero(4),
    },
    "positions": {
        "mrope.per_second": Row(None, (0, -1), (ABOVE_0, 25)),
        "rope1d.factor": Row(1.0, (UNDER_1,), (1,)),
    },
    "formats": {
        f"{kind}.max_bytes": Row(1 << 31, (0,), (1,))
        for kind in ("llava_json", "sharegpt", "vidapt_jsonl", "video_instruct")
    },
    "cleaning.checks": {
        "blind.above": Row(0.75, (0, ABOVE_1), (ABOVE_0, 1), {"to": ABOVE_0}),
        "blind.to": Row(0.6, (0, 1), (ABOVE_0, UNDER_1), {"above": 1}),
        "blind.least": above_zero(20),
        "blind.likely": Row(0.5, (0, 1), (ABOVE_0, UNDER_1)),
        "contradiction.below": Row(0.2, (-ABOVE_0, ABOVE_1), (0, 1)),
        "contradiction.voices": Row(0.5, (0, ABOVE_1), (ABOVE_0, 1)),
        "contradiction.short": above_zero(5),
        "invisible.below": Row(0.25, (0, ABOVE_1), (ABOVE_0, 1)),
        "language.foreign": Row(0.2, (0, ABOVE_1), (ABOVE_0, 1)),
        "length.low": Row(0.05, (-ABOVE_0, 0.5), (0, 0.4)),
        "length.high": Row(0.95, (0.5, ABOVE_1), (0.6, 1)),
        "length.times": Row(3.0, (1.19, 101), (1.2, 100)),
        "length.least": Row(20, (1,), (2,)),
        "loop.in_a_row": Row(4, (1, 1001), (2, 1000)),
        "loop.gram": Row(4, (0, 33), (1, 32)),
        "loop.repeated": Row(0.75, (0, ABOVE_1), (ABOVE_0, 1)),
        "loop.least": Row(24, (1,), (2,)),
        "loop.compression": Row(6.0, (1,), (ABOVE_1,)),
        "loop.least_bytes": Row(256, (31,), (32,)),
        "near_duplicate.alike": Row(0.85, (0, ABOVE_1), (ABOVE_0, 1)),
        "near_duplicate.most": above_zero(50),
        "unsupported.least": Row(0.0, (-ABOVE_0, ABOVE_1), (0, 1)),
        "near_duplicate.least": above_zero(8),
    },
    "metrics.protocols": {
        "claims.most": Row(10, (0, 51), (1, 50)),
        "dense_events.alike": Row(0.0, (-ABOVE_0, ABOVE_1), (0, 1)),
        "multiple_choice.orders": Row(0, (-1, 27), (0, 26)),
        "option_likelihood.orders": Row(0, (-1, 27), (0, 26)),
        "pope.each": Row(3, (0, 101), (1, 100)),
        "pope.seed": Row(0, (-1, 2**31), (0, 2**31 - 1)),
        "retrieval.most": Row(2000, (1, 100_001), (2, 100_000)),
        "video_chatgpt.temporal": Row("temporal", ("",), ("time",)),
    },
}
TABLE: dict[str, dict[str, Row]] = {"objectives": OBJECTIVES, **OTHERS}
BOUNDS = (annotated_types.Ge, annotated_types.Gt, annotated_types.Le, annotated_types.Lt)


def given(family: Family, kind: str, **fields: object) -> Any:
    """A part's config, of what its smallest instance says and these fields."""
    module = __import__(f"vidapt.{family}.{kind}", fromlist=["tiny"])
    least = module.tiny().cfg.model_dump(mode="json", exclude_unset=True)
    if "sparsify" in fields:
        least.pop("k")
    return configure(family, {**least, **fields, "kind": kind})


def check(field: str, row: Row, build: Any) -> None:
    """See that a field has its default, takes what it may take and refuses what lies beyond."""
    for value in row.refused:
        with pytest.raises(ValidationError, match=field):
            build(**row.beside, **{field: value})
    for value in row.taken:
        build(**row.beside, **{field: value})


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_takes_what_its_docs_allow_and_no_more(name: str) -> None:
    kind, _, field = name.partition(".")
    part = find("objectives", kind)
    check(field, OBJECTIVES[name], lambda **fields: part(_objective(kind, fields)))
    if OBJECTIVES[name].default is not None or not part.Config.model_fields[field].is_required():
        assert part.Config.model_fields[field].default == OBJECTIVES[name].default


def _objective(kind: str, fields: dict[str, Any]) -> Any:
    needs = {"align": {"terms": ({"kind": "contrastive"},)}, "distill": {"teachers": {"home": "billiards"}}}
    return find("objectives", kind).Config.model_validate({**needs.get(kind, {}), **fields})


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, rows in OTHERS.items() for name in rows]
)
def test_a_part_takes_what_its_docs_allow_and_no_more(family: Family, name: str) -> None:
    kind, _, field = name.partition(".")
    row = TABLE[family][name]
    check(field, row, lambda **fields: given(family, kind, **fields))
    assert find(family, kind).Config.model_fields[field].default == row.default


def test_no_bounded_field_of_a_part_is_without_its_row() -> None:
    bounded = {
        (family, f"{kind}.{name}")
        for family in FAMILIES
        for kind in kinds(family)
        for name, field in find(family, kind).Config.model_fields.items()
        if any(isinstance(bound, BOUNDS) for bound in field.metadata)
    }
    assert bounded <= {(family, name) for family, rows in TABLE.items() for name in rows}


@pytest.mark.parametrize(
    ("field", "row"),
    [("keep", Row(None, (0, ABOVE_1), (0.01, 1))), ("threshold", Row(None, (-ABOVE_0, 1), (0, UNDER_1)))],
)
def test_what_is_left_out_takes_what_its_docs_allow_and_no_more(field: str, row: Row) -> None:
    check(field, row, lambda **fields: Prune(**fields))
    assert Prune.model_fields[field].default == row.default


@pytest.mark.parametrize(
    ("field", "row"),
    [
        ("tower", not_negative(0)),
        ("weight", Row(1.0, (0, -1, math.inf, math.nan), (ABOVE_0, 10.0))),
        ("sample", above_zero(256)),
    ],
)
def test_a_teacher_takes_what_its_docs_allow_and_no_more(field: str, row: Row) -> None:
    check(field, row, lambda **fields: find("objectives", "distill")(_objective("distill", _taught(fields))))
    assert getattr(Teacher(path="a"), field) == row.default


def _taught(fields: dict[str, Any]) -> dict[str, Any]:
    return {"teachers": {"a": {"path": "b", **fields}}}
