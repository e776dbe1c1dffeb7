"""Each piece of advice comes where it applies, with its source, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import align_tools
import pytest
from training_tools import blueprint, recipe, silent, stage, write_clips

import vidapt.planning.advice as advice
from vidapt.cli.planning import planner
from vidapt.errors import BudgetError, ConfigError
from vidapt.planning.numbers import RecipePlan
from vidapt.planning.plan import Means, plan_recipe, refuse
from vidapt.recipe import Recipe
from vidapt.training.outlook import outlook
from vidapt.training.run import train


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


def of(plan: Recipe, device: str = "h100", **means: Any) -> RecipePlan:
    return plan_recipe(outlook(plan, silent), Means(device, **means))


def ids(plan: Recipe, **means: Any) -> list[str]:
    return [one.id for one in of(plan, **means).advice]


def test_nothing_is_said_of_a_sound_recipe(labels: Path) -> None:
    fine = blueprint(resolution={"kind": "whole", "fit": "squash"})
    assert ids(recipe(stage(labels, batching={"clips": 2, "blind": 0.1}), blueprint=fine)) == []


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ({"towers": 1e-5, "language": 2e-5}, True),
        ({"towers": 4e-6, "language": 2e-5}, False),
    ],
)
def test_vision_rate(
    labels: Path, monkeypatch: pytest.MonkeyPatch, rates: dict[str, float], told: bool
) -> None:
    tuned = {"train": {"towers": "full"}, "optimizer": {"rates": rates}, "steps": 1}
    assert "vision-rate" not in ids(recipe(stage(labels, **tuned)))  # a tower of a few thousand parameters
    monkeypatch.setattr(advice, "_PUBLISHED_TOWER", 100)
    assert ("vision-rate" in ids(recipe(stage(labels, **tuned)))) is told
    assert "vision-rate" not in ids(recipe(stage(labels, optimizer={"rates": rates})))  # frozen


def test_little_data_and_no_general_set(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "_PUBLISHED_TOWER", 100)
    plan = recipe(stage(labels, train={"towers": "full"}, steps=1))
    assert {"little-data", "no-general-set"} <= set(ids(plan))
    monkeypatch.setattr(advice, "_FEW_CLIPS", 4)
    assert "little-data" not in ids(plan)


def test_language_rate(labels: Path) -> None:
    wide = blueprint(language={"hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 16})
    full = {"train": {"language": "full"}, "steps": 1}
    high, low = ({"optimizer": {"rates": {"language": rate}}} for rate in (1e-4, 1e-5))
    assert "language-rate" in ids(recipe(stage(labels, **full, **high), blueprint=wide))
    assert "language-rate" not in ids(recipe(stage(labels, **full, **low), blueprint=wide))
    assert "language-rate" not in ids(recipe(stage(labels, **full, **high)))  # a small one


def test_pooled_away(labels: Path) -> None:
    coarse = blueprint(resolution={"kind": "framed", "pool": "average", "order": "pool_first"})
    told = [one for one in of(recipe(stage(labels), blueprint=coarse)).advice if one.id == "pooled-away"]
    assert len(told) == 1
    assert "4 cells" in told[0].text


def test_blind_and_adapters(labels: Path) -> None:
    assert "blind" in ids(recipe(stage(labels, batching={"blind": 0})))
    lora = {"language": "lora", "lora": {"rank": 2, "alpha": 8}}
    (told,) = [o for o in of(recipe(stage(labels, train=lora))).advice if o.id == "lora-scale"]
    assert "alpha 8" in told.text
    assert told.source.startswith("PLLaVA")
    assert told.stage == "a"


def test_one_order(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", clips=4)
    asks = [
        ("human", "what?"),
        ("gpt", "a"),
        ("human", "where?"),
        ("gpt", "b"),
        ("human", "who?"),
        ("gpt", "c"),
    ]
    rows = [
        {"id": str(n), "video": f"{n}.mp4", "conversations": [{"from": f, "value": v} for f, v in asks]}
        for n in range(4)
    ]
    labels = tmp_path / "clips" / "talk.json"
    labels.write_text(json.dumps(rows), encoding="utf-8")
    assert "one-order" in ids(recipe(stage(labels)))
    assert "one-order" not in ids(recipe(stage(labels, batching={"apart": True})))


def test_alone_and_cut_texts(tmp_path: Path) -> None:
    labels = align_tools.write_captioned(tmp_path / "clips")
    plan = of(align_tools.recipe(align_tools.stage(labels, batching={"clips": 1}, steps=1)))
    assert [one.id for one in plan.errors] == ["alone"]
    short = {"pairs": {"tokens": 3, "longer": "truncate"}, "steps": 1}
    assert "cut-texts" in ids(align_tools.recipe(align_tools.stage(labels, **short)))


def test_disk_and_cache(labels: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tight = stage(labels, train={"towers": "frozen"}, cache={"keep": "features", "max_gb": 1e-6})
    assert [one.id for one in of(recipe(tight)).errors] == ["cache-limit"]
    monkeypatch.setattr("vidapt.planning.plan.shutil.disk_usage", lambda _: type("", (), {"free": 10})())
    plan = of(recipe(stage(labels)), runs=tmp_path / "not" / "yet")
    assert [one.id for one in plan.errors] == ["disk"]
    with pytest.raises(BudgetError, match=r"(?s)0\.0 GB are free.*--ignore disk") as raised:
        refuse(plan)
    assert raised.value.where == "plan of run"


def test_ignored_and_unknown(labels: Path) -> None:
    ahead = outlook(recipe(stage(labels, batching={"blind": 0})), silent)
    assert "blind" not in [one.id for one in plan_recipe(ahead, Means("h100"), ignore=["blind"]).advice]
    with pytest.raises(ConfigError, match=r"(?s)no advice called 'blond'.*did you mean 'blind'"):
        plan_recipe(ahead, Means("h100"), ignore=["blond"])
    with pytest.raises(ConfigError, match="nothing is known of 'h101'"):
        plan_recipe(ahead, Means("h101"))


def test_every_rule_has_a_source() -> None:
    assert all(rule.source for rule in advice.RULES.values())


def test_training_goes_on_where_a_plan_cannot_be_made(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr("vidapt.planning.plan.plan_recipe", fails)
    run = train(
        recipe(stage(labels, steps=1)), tmp_path, silent, workers=0, look=planner(tmp_path, "cpu", None)
    )
    assert (run / "01-a" / "model").is_dir()
    assert "plan: not known: no such operation" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no advice called 'x'"):
        planner(tmp_path, "cpu", ["x"])


def test_clips_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=1)
    (tmp_path / "clips" / "0.mp4").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"(?s)no clip can be read.*vidapt data check --decode"):
        of(recipe(stage(labels, steps=1)))
