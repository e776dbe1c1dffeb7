"""How far a recipe's numbers may go, each at its edge, and what is taken where nothing is said."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from vidapt.recipe import (
    Average,
    Batching,
    Cache,
    DataSource,
    Last,
    LayerDecay,
    LoRA,
    Mix,
    Optimizer,
    Pairing,
    Rates,
    Recipe,
    Sizes,
    Stage,
    Trained,
    Unsupported,
)
from vidapt.recipe.stage import LENGTHS
from vidapt.strict import Strict

TINY = 5e-324
BELOW_ONE, ABOVE_ONE = math.nextafter(1.0, 0.0), math.nextafter(1.0, 2.0)
MILLION, BILLION = 1_000_000, 1_000_000_000
SHARE_UP_TO_ONE = ([0.0, 1.0], [-TINY, ABOVE_ONE])
SHARE_BELOW_ONE = ([0.0, BELOW_ONE], [-TINY, 1.0])
RATE = ([TINY, 1.0], [0.0, ABOVE_ONE])
COUNT = ([1, MILLION], [0, MILLION + 1])

EDGES: list[tuple[type[Strict], str, tuple[list[Any], list[Any]]]] = [
    (LoRA, "rank", ([1, 65_536], [0, 65_537])),
    (LoRA, "alpha", ([TINY], [0.0])),
    (LoRA, "dropout", SHARE_BELOW_ONE),
    (LoRA, "targets", ([("q",)], [()])),
    *((Rates, name, RATE) for name in Rates.model_fields),
    (Optimizer, "weight_decay", ([0.0, 10.0], [-TINY, math.nextafter(10.0, 11.0)])),
    (Optimizer, "betas", ([(0.0, BELOW_ONE)], [(-TINY, 0.5), (0.5, -TINY), (1.0, 0.5), (0.5, 1.0)])),
    (Optimizer, "eps", RATE),
    (Optimizer, "warmup", SHARE_BELOW_ONE),
    (Optimizer, "floor", SHARE_UP_TO_ONE),
    (Optimizer, "warmup_floor", SHARE_UP_TO_ONE),
    (Optimizer, "cooldown", RATE),
    (Optimizer, "clip_norm", ([None, TINY], [0.0])),
    *((LayerDecay, name, RATE) for name in LayerDecay.model_fields),
    (Last, "last", ([1, 10_000], [0, 10_001])),
    (Average, "decay", ([TINY, BELOW_ONE], [0.0, 1.0])),
    (Batching, "clips", COUNT),
    (Batching, "questions", ([None, *COUNT[0]], COUNT[1])),
    (Batching, "share", ([{"a": 0.0, "b": 1.0}], [{"a": -TINY}, {"a": ABOVE_ONE}])),
    (Batching, "blind", SHARE_BELOW_ONE),
    (Batching, "ahead", ([0, 1000], [-1, 1001])),
    (Batching, "max_answer_tokens", ([1], [0])),
    (Cache, "max_gb", ([TINY], [0.0])),
    (DataSource, "limit", ([None, 1], [0])),
    (DataSource, "skip", ([0], [-1])),
    (DataSource, "weight", ([TINY, 1e6], [0.0, -1.0, math.nextafter(1e6, 1e7)])),
    (Unsupported, "drop_below", SHARE_UP_TO_ONE),
    (Mix, "temperature", ([TINY, 1000.0], [0.0, math.nextafter(1000.0, 1001.0)])),
    (Sizes, "groups", ([(14,), (224, 336)], [(13,), (16_385,)])),
    (Sizes, "unify", ([None, "group", 14, 16_384], [13, 16_385])),
    (Stage, "epochs", ([TINY, 1e6], [0.0, math.nextafter(1e6, 1e7)])),
    (Stage, "steps", ([1, BILLION], [0, BILLION + 1])),
    (Stage, "samples", ([1, 10**12], [0, 10**12 + 1])),
    (Stage, "tokens", ([1, 10**15], [0, 10**15 + 1])),
    (Stage, "hours", ([TINY, 1e5], [0.0, math.nextafter(1e5, 1e6)])),
    (Stage, "guard", COUNT),
    (Stage, "measure_questions", COUNT),
    (Stage, "save_every", ([1, BILLION], [0, BILLION + 1])),
    (Stage, "save_minutes", ([None, TINY, 1e5], [0.0, math.nextafter(1e5, 1e6)])),
    (Stage, "name", (["a", "n" * 100], ["", "n" * 101, ".a", "a/b"])),
    (Pairing, "falsify", ([0], [-1])),
    (Pairing, "tokens", ([None, 3], [2])),
    (Pairing, "similar", ([TINY, 1.0], [0.0, ABOVE_ONE])),
    (Recipe, "vocabulary", ([257, 10_000_000], [256, 10_000_001])),
    (Recipe, "new_tokens", ([0, 1_000_000], [-1, 1_000_001])),
    (Recipe, "seed", ([0, 2**63 - 1], [-1, 2**63])),
]
STAGE: dict[str, Any] = {"name": "a", "steps": 1}
NEEDED: dict[type[Strict], dict[str, Any]] = {
    Average: {"kind": "ema"},
    DataSource: {"path": "labels.jsonl"},
    Mix: {"by": "temperature"},
    Sizes: {"groups": (224,)},
    Stage: STAGE,
    Recipe: {"name": "run", "start": "model", "data": "labels.jsonl", "stages": [STAGE]},
}


@pytest.mark.parametrize(
    ("model", "name", "edges"), EDGES, ids=[f"{model.__name__}.{name}" for model, name, _ in EDGES]
)
def test_a_number_goes_as_far_as_its_edge_and_no_further(
    model: type[Strict], name: str, edges: tuple[list[Any], list[Any]]
) -> None:
    needed = {**NEEDED.get(model, {})}
    if name in LENGTHS:
        needed.pop("steps", None)
    for value in edges[0]:
        taken = model.model_validate({**needed, name: value})
        assert getattr(taken, name) == value
    for value in edges[1]:
        with pytest.raises(ValidationError) as caught:
            model.model_validate({**needed, name: value})
        assert {error["loc"][0] for error in caught.value.errors()} == {name}


def test_what_is_not_said_is_what_the_documents_promise() -> None:
    """A default that changes would train every recipe that does not name it in another way."""
    stage = Stage(name="a", steps=1)
    said = stage.model_dump(exclude={"pairs", "name", "steps"})
    assert said == {
        "data": (),
        "objective": {"kind": "next_token"},
        "train": {
            "towers": "frozen",
            "connector": "full",
            "language": "full",
            "lora": {"rank": 16, "alpha": 32.0, "dropout": 0.0, "targets": "all-linear"},
            "towers_lora": {"rank": 16, "alpha": 32.0, "dropout": 0.0, "targets": "all-linear"},
            "base": "stored",
            "text": "full",
            "projections": "full",
        },
        "optimizer": {
            "kind": "adamw",
            "layer_decay": {"towers": 1.0, "language": 1.0, "text": 1.0},
            "rates": {
                "towers": 2e-6,
                "connector": 1e-4,
                "language": 2e-5,
                "text": 2e-6,
                "projections": 2e-6,
                "objective": 1e-3,
            },
            "weight_decay": 0.0,
            "betas": (0.9, 0.98),
            "eps": 1e-8,
            "warmup": 0.03,
            "warmup_floor": 0.0,
            "decay": "cosine",
            "floor": 0.0,
            "cooldown": 0.1,
            "clip_norm": 1.0,
        },
        "batching": {
            "clips": 8,
            "at_once": None,
            "memory": "given",
            "questions": None,
            "apart": False,
            "shared_prefix": True,
            "share": {},
            "blind": 0.05,
            "ahead": 2,
            "placement": "as_written",
            "max_answer_tokens": 1024,
            "flex": False,
            "media": "mixed",
            "bucket": "random",
            "sizes": None,
        },
        "mix": {"by": "size", "temperature": 1.0},
        "retrieval": {},
        "cache": {"keep": "auto", "dtype": "exact", "max_gb": 50.0},
        "epochs": None,
        "samples": None,
        "tokens": None,
        "hours": None,
        "average": None,
        "guard": 3,
        "measure": {},
        "measure_questions": 64,
        "save_every": 500,
        "save_minutes": None,
        "precision": "float32",
        "recompute": False,
    }
    recipe = Recipe.model_validate(NEEDED[Recipe])
    assert (recipe.vocabulary, recipe.new_tokens, recipe.seed, recipe.accept) == (1024, 0, 0, ())


@pytest.mark.parametrize("parts", [("towers", "connector", "language"), ("towers", "text", "projections")])
def test_one_part_that_learns_is_enough_for_either_kind_of_model(parts: tuple[str, ...]) -> None:
    still = dict.fromkeys(parts, "frozen")
    with pytest.raises(ValidationError, match="nothing would be trained"):
        Trained.model_validate(still)
    for part in parts:
        assert getattr(Trained.model_validate({**still, part: "full"}), part) == "full"


def test_features_are_kept_of_frozen_towers_alone() -> None:
    with pytest.raises(ValidationError, match="keep frames instead"):
        Stage.model_validate({**STAGE, "cache": {"keep": "features"}, "train": {"towers": "full"}})
    Stage.model_validate({**STAGE, "cache": {"keep": "features"}})
    Stage.model_validate({**STAGE, "cache": {"keep": "frames"}, "train": {"towers": "full"}})


def test_a_stage_has_one_length_and_an_excess_is_told_from_a_lack() -> None:
    with pytest.raises(
        ValidationError, match="give one of `epochs`, `steps`, `samples`, `tokens`, `hours`"
    ) as caught:
        Stage.model_validate({"name": "a"})
    assert "null" not in str(caught.value)
    with pytest.raises(ValidationError, match="and all but one of epochs, steps to null"):
        Stage.model_validate({"name": "a", "epochs": 1, "steps": 1})


@pytest.mark.parametrize("key", ["kind", "path"])
def test_options_of_a_source_are_the_formats_alone(key: str) -> None:
    with pytest.raises(ValidationError, match=f"`{key}` is no option"):
        DataSource.model_validate({"path": "labels.jsonl", "options": {key: "x"}})


@pytest.mark.parametrize("begin", [0.0, BELOW_ONE])
def test_a_plain_mean_begins_behind_a_share_of_the_steps(begin: float) -> None:
    assert Average.model_validate({"kind": "swa", "from": begin}).begin == begin
    for beyond in (-TINY, 1.0):
        with pytest.raises(ValidationError, match="from"):
            Average.model_validate({"kind": "swa", "from": beyond})


@pytest.mark.parametrize("given", [{"kind": "ema", "from": 0.5}, {"kind": "swa", "decay": 0.5}], ids=str)
def test_a_mean_is_given_its_own_number(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"not for `{given['kind']}`"):
        Average.model_validate(given)


@pytest.mark.parametrize("part", ["connector", "text"])
def test_adapters_stand_in_towers_and_language_models_alone(part: str) -> None:
    assert Trained.model_validate({"towers": "lora", "language": "lora"}).towers == "lora"
    with pytest.raises(ValidationError, match="no model's folder holds adapters of it"):
        Trained.model_validate({part: "lora"})


@pytest.mark.parametrize("learns", ["full", "norms", {"last": 1}], ids=str)
def test_what_learns_is_not_kept_in_few_bits(learns: Any) -> None:
    for stays in ("frozen", "lora"):
        assert Trained.model_validate({"language": stays, "base": "4bit"}).base == "4bit"
    with pytest.raises(ValidationError, match="holds weights that do not learn"):
        Trained.model_validate({"language": learns, "base": "8bit"})
