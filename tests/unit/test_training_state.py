"""What a run's folder says of it, and which values a run may go on with, without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training_tools import recipe, stage

from vidapt.errors import CheckpointError, ConfigError
from vidapt.recipe import Recipe
from vidapt.training.forks import Fork, Kept, forked
from vidapt.training.state import (
    RunState,
    check_model,
    gone_on,
    has_finished,
    note_forks,
    read_state,
    stage_folder,
)

LABELS = Path("labels.jsonl")
RATE = "stages.0.optimizer.rates.language"


def plan_of(*changes: dict[str, Any], **whole: Any) -> Recipe:
    listed = changes or ({},)
    return recipe(*(stage(LABELS, "abc"[index], **one) for index, one in enumerate(listed)), **whole)


def rates(language: float) -> dict[str, Any]:
    return {"optimizer": {"rates": {"language": language}}}


def kept(plan: Recipe, finished: int = 0, forks: list[Fork] | None = None) -> Kept:
    return Kept(Path("run"), plan, finished, forks or [])


def test_folders_of_stages_are_in_the_order_of_the_recipe() -> None:
    plan = plan_of(*[{}] * 2)
    assert [stage_folder(place, one) for place, one in enumerate(plan.stages)] == ["01-a", "02-b"]
    assert stage_folder(9, plan.stages[0]) == "10-a"


def test_a_value_named_is_changed_and_told_with_what_it_was() -> None:
    before, now = plan_of(rates(1e-3)), plan_of(rates(1e-4))
    for name in (RATE, "stages.-1.optimizer.rates.language", "stages.0.optimizer", "stages.0", "stages"):
        goes_on, changed = forked(now, kept(before), [name], known=False)
        assert changed == {RATE: [1e-3, 1e-4]}
        assert goes_on.stages[0].optimizer.rates.language == 1e-4


@pytest.mark.parametrize("name", ["stages.1", "stages.0.optimizer.rates.connector", "seed", "name"])
def test_a_value_beside_those_named_is_refused(name: str) -> None:
    two = [rates(1e-3), {}]
    with pytest.raises(ConfigError, match=f"differs in {RATE}\n"):
        forked(plan_of(rates(1e-4), {}), kept(plan_of(*two)), [name], known=False)


def test_the_last_stage_is_counted_from_the_end() -> None:
    before, now = plan_of({}, rates(1e-3)), plan_of({}, rates(1e-4))
    _, changed = forked(now, kept(before), ["stages.-1.optimizer"], known=False)
    assert changed == {"stages.1.optimizer.rates.language": [1e-3, 1e-4]}
    with pytest.raises(ConfigError, match=r"differs in stages\.1\.optimizer"):
        forked(now, kept(before), ["stages.-2.optimizer"], known=False)


def test_only_stages_behind_the_finished_ones_are_changed() -> None:
    before, now = plan_of({}, rates(1e-3)), plan_of({}, rates(1e-4))
    _, changed = forked(now, kept(before, finished=1), ["stages"], known=False)
    assert changed.keys() == {"stages.1.optimizer.rates.language"}
    with pytest.raises(ConfigError, match=r"stages\.1\.optimizer\.rates\.language: belongs to a stage"):
        forked(now, kept(before, finished=2), ["stages"], known=False)


def test_what_was_changed_before_stays_however_the_recipe_is_given() -> None:
    first, second = plan_of(rates(1e-3)), plan_of(rates(1e-4))
    past = [Fork("01-a", 4, {RATE: [1e-3, 1e-4]})]
    for known in (True, False):
        goes_on, changed = forked(first, kept(second, forks=past), [], known=known)
        assert (goes_on.stages[0].optimizer.rates.language, changed) == (1e-4, {})
    # A third value is neither the run's nor what it was once.
    third = plan_of(rates(1e-5))
    with pytest.raises(ConfigError, match="differs in"):
        forked(third, kept(second, forks=past), [], known=False)
    # What is known was changed elsewhere, such as by another version of a default.
    goes_on, _ = forked(third, kept(second, forks=past), [], known=True)
    assert goes_on.stages[0].optimizer.rates.language == 1e-4


def test_what_may_not_be_changed_is_refused_unless_the_recipe_is_the_runs_own() -> None:
    before, now = plan_of({}), plan_of({}, seed=5)
    with pytest.raises(ConfigError, match="differs in seed\n"):
        forked(now, kept(before), ["seed"], known=False)
    # Its paths may be other ones, where the data set was moved.
    goes_on, changed = forked(now, kept(before), [], known=True)
    assert (goes_on.seed, changed) == (5, {})


def test_of_what_was_empty_before_only_what_is_new_is_named() -> None:
    share = {"batching": {"clips": 2, "share": {"colour": 0.5}}}
    for before, now in ((plan_of({}), plan_of(share)), (plan_of(share), plan_of({}))):
        with pytest.raises(ConfigError, match=r"differs in stages\.0\.batching\.share\.colour\n"):
            forked(now, kept(before), [], known=False)


@pytest.mark.parametrize("count", [8, 9, 11])
def test_eight_places_are_named_and_the_others_counted(count: int) -> None:
    share = {f"t{number:02d}": 0.5 for number in range(count)}
    with pytest.raises(ConfigError) as caught:
        forked(
            plan_of({"batching": {"clips": 2, "share": share}}),
            kept(plan_of({"batching": {"clips": 2, "share": dict.fromkeys(share, 0.25)}})),
            [],
            known=False,
        )
    listed = ", ".join(f"stages.0.batching.share.{name}" for name in list(share)[:8])
    more = f" and {count - 8} more" if count > 8 else ""
    assert caught.value.found.endswith(f"differs in {listed}{more}")


def test_steps_become_epochs_only_if_the_others_are_given_up() -> None:
    before = plan_of({"steps": 5})
    goes_on, changed = forked(plan_of({"steps": None, "epochs": 2}), kept(before), ["stages.0"], known=False)
    assert (goes_on.stages[0].steps, goes_on.stages[0].epochs) == (None, 2)
    assert changed == {"stages.0.epochs": [None, 2.0], "stages.0.steps": [5, None]}
    past = [Fork("01-a", 1, {"stages.0.steps": [None, 5]})]
    with pytest.raises(ConfigError, match="stage a: has not one of epochs, steps, samples, tokens, hours"):
        forked(
            plan_of({"steps": None, "epochs": 2}), kept(before, forks=past), ["stages.0.epochs"], known=False
        )


def state_of(plan: Recipe, **changes: Any) -> RunState:
    return RunState(plan.fingerprint, plan.settled, "labels", **changes)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = plan_of({})
    state = state_of(plan, finished=["01-a"], stages={"01-a": {"steps": 3}}, models={"01-a": {"x": "1:0"}})
    state.write(tmp_path)
    assert "forks" not in json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert read_state(tmp_path, plan, resume=True) == state
    note_forks(state, plan_of({}, {}), {"stages.1.steps": [5, 6]}, 3)
    state.write(tmp_path)
    assert read_state(tmp_path, plan, resume=True) == state
    with pytest.raises(ConfigError, match="this run exists"):
        read_state(tmp_path, plan, resume=False)


def test_nothing_is_kept_that_is_not_said(tmp_path: Path) -> None:
    RunState("hash").write(tmp_path)
    written = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    empty: dict[str, Any] = {"settled": None, "data": None, "finished": [], "stages": {}, "models": {}}
    assert written == {"recipe": "hash", **empty}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "3", '{"recipe": "x", "odd": 1}', '{"recipe": "x", "forks": [{}]}', "[" * 100_000],
    ids=lambda content: content[:30] or "empty",
)
def test_a_damaged_state_is_told_and_no_stage_of_it_is_finished(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content, encoding="utf-8")
    assert has_finished(tmp_path) is False
    with pytest.raises(CheckpointError, match=r"run\.json: is damaged"):
        read_state(tmp_path, plan_of({}), resume=True)


@pytest.mark.parametrize(("finished", "told"), [([], False), (["01-a"], True)])
def test_a_stage_is_finished_when_it_is_listed(tmp_path: Path, finished: list[str], told: bool) -> None:
    assert has_finished(tmp_path) is False
    state_of(plan_of({}), finished=finished).write(tmp_path)
    assert has_finished(tmp_path) is told


@pytest.mark.parametrize("name", ["recipe.json", "load_report.json", "footage.json", ".lock"])
def test_what_a_refused_attempt_leaves_is_no_obstacle(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert read_state(tmp_path, plan_of({}), resume=False) is None
    assert read_state(tmp_path / "no", plan_of({}), resume=False) is None
    (tmp_path / "other").touch()
    with pytest.raises(ConfigError, match="exists and is not a run"):
        read_state(tmp_path, plan_of({}), resume=False)


def test_changes_are_noted_by_stage_from_where_each_goes_on() -> None:
    plan = plan_of(*[{}] * 3)
    state = state_of(plan, finished=["01-a"])
    changed = {"stages.1.steps": [5, 6], "stages.1.epochs": [1, 2], "stages.2.steps": [5, 7]}
    told = list(note_forks(state, plan, changed, 4))
    wanted = [
        Fork("02-b", 4, {"stages.1.steps": [5, 6], "stages.1.epochs": [1, 2]}),
        Fork("03-c", 0, {"stages.2.steps": [5, 7]}),
    ]
    assert told == wanted == state.forks_of("02-b") + state.forks_of("03-c")
    assert state.forks_of("01-a") == []
    # Behind a damaged checkpoint it goes on earlier, and so does what was changed there.
    assert list(note_forks(state, plan, {}, 2)) == []
    assert [fork["step"] for fork in state.forks] == [2, 0]
    note_forks(state, plan, {}, 3)
    assert [fork["step"] for fork in state.forks] == [2, 0]


def test_a_run_goes_on_as_it_is_only_with_its_own_recipe(tmp_path: Path) -> None:
    plan, other = plan_of(rates(1e-3)), plan_of(rates(1e-4))
    state = state_of(plan)
    # Its own file is lost: nothing can be changed, and what is known goes on.
    assert gone_on(state, tmp_path, plan, []) == (plan, {})
    with pytest.raises(ConfigError, match="was made by another version of the recipe"):
        gone_on(state, tmp_path, other, [RATE])
    state.forks = [{"stage": "01-a", "step": 1, "changed": {}}]
    with pytest.raises(CheckpointError, match=r"recipe\.json: is damaged"):
        gone_on(state, tmp_path, plan, [])
    state.forks = []
    (tmp_path / "recipe.json").write_text(plan.to_json(), encoding="utf-8")
    assert gone_on(state, tmp_path, plan, [])[1] == {}
    assert gone_on(state, tmp_path, other, [RATE])[1] == {RATE: [1e-3, 1e-4]}
    assert gone_on(RunState("x", plan.settled), tmp_path, plan, [])[1] == {}


def test_of_a_finished_model_all_files_are_as_they_were_but_the_card(tmp_path: Path) -> None:
    state = state_of(plan_of({}))
    for name in ("01-a", "02-b"):
        (tmp_path / name / "model").mkdir(parents=True)
        for file in ("card.json", "model.safetensors"):
            (tmp_path / name / "model" / file).write_text(name, encoding="utf-8")
        state.finish(name, {"steps": 1}, tmp_path)
    assert (state.finished, state.stages["02-b"]) == (["01-a", "02-b"], {"steps": 1})
    assert state.models["01-a"].keys() == {"model.safetensors"}
    (tmp_path / "01-a" / "model" / "model.safetensors").unlink()  # no stage begins with it any more
    (tmp_path / "02-b" / "model" / "card.json").write_text("{}", encoding="utf-8")
    check_model(state, tmp_path)
    (tmp_path / "02-b" / "model" / "model.safetensors").write_text("x", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"is not what its stage left: model\.safetensors is damaged"):
        check_model(state, tmp_path)
