"""What a run tells while it goes on, what its cards keep, and what it leaves of its stages."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest
import torch
from training_tools import recipe, stage, tokenizer, train, video_lm, write_clips

from vidapt.errors import ConfigError
from vidapt.models.folder import save_model
from vidapt.objectives.next_token import Part as NextToken
from vidapt.training import cache as cache_module
from vidapt.version import VERSION

Heard = list[tuple[str, int, int, str]]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips", clips=3, questions=2)


def card_of(run: Path, folder: str) -> dict[str, Any]:
    return dict(json.loads((run / folder / "model" / "card.json").read_text(encoding="utf-8")))


def test_progress_is_told_by_clips_and_by_steps_and_a_broken_clip_is_not_waited_for(
    labels: Path, tmp_path: Path
) -> None:
    (labels.parent / "1.mp4").write_bytes(b"not a video")
    heard: Heard = []
    train(
        recipe(stage(labels, steps=3)),
        tmp_path / "runs",
        lambda task, done, total, note="": heard.append((task, done, total, note)),
        workers=0,
    )
    read = [(done, total) for task, done, total, _ in heard if task == "a: read clips"]
    assert (read[0], read[-1]) == ((0, 3), (3, 3))
    assert read == sorted(read)
    steps = [(done, total, note) for task, done, total, note in heard if task == "a"]
    assert [(done, total) for done, total, _ in steps] == [(1, 3), (2, 3), (3, 3)]
    losses = [float(note.partition(";")[0].removeprefix("loss ")) for *_, note in steps]
    state = json.loads((tmp_path / "runs" / "run" / "run.json").read_text(encoding="utf-8"))
    assert losses[-1] == round(state["stages"]["01-a"]["loss"], 3)


def test_cards_tell_stage_seed_result_and_versions_and_checkpoints_go(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, "a", steps=2), stage(labels, "b", steps=3), seed=7)
    run = train(plan, tmp_path, lambda *told: None, workers=0)
    state = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert state["finished"] == ["01-a", "02-b"]
    assert (state["recipe"], state["settled"]) == (plan.fingerprint, plan.settled)
    for folder, name, steps in (("01-a", "a", 2), ("02-b", "b", 3)):
        card = card_of(run, folder)
        result = state["stages"][folder]
        assert result == {key: card[key] for key in ("steps", "seconds", "loss", "blind", "waited")}
        assert result["steps"] == steps
        assert (card["recipe"], card["stage"], card["seed"]) == ("run", name, 7)
        assert card["versions"] == {
            "vidapt": VERSION,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
        assert "forks" not in card
        assert "texts" not in card
        assert [path.name for path in (run / folder / "work").iterdir() if "checkpoint" in path.name] == []
        assert (run / folder / "work" / "metrics.jsonl").is_file()


def test_a_damaged_checkpoint_and_a_change_are_told_as_done(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, steps=4, save_every=1))

    def cut(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("a", 3):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        train(plan, tmp_path, cut, workers=0)
    (tmp_path / "run" / "01-a" / "work" / "checkpoint-00000003" / "random.pt").unlink()
    heard: Heard = []
    train(
        recipe(stage(labels, steps=5, save_every=1)),
        tmp_path,
        lambda task, done, total, note="": heard.append((task, done, total, note)),
        workers=0,
        resume=True,
        changes=["stages.0.steps"],
    )
    assert heard[:2] == [
        (
            "01-a: checkpoints",
            1,
            1,
            "checkpoint-00000003 cannot be used (random.pt is missing): going on from step 2",
        ),
        ("01-a: changed", 1, 1, "from step 2: stages.0.steps 4 -> 5"),
    ]


def test_a_finished_run_goes_on_from_no_step(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, steps=1))
    with pytest.raises(ConfigError, match="from_step: is for a run that goes on"):
        train(plan, tmp_path, lambda *told: None, workers=0, from_step=1)
    assert not (tmp_path / "run").exists()
    train(plan, tmp_path, lambda *told: None, workers=0)
    with pytest.raises(ConfigError, match="all of its stages are finished"):
        train(plan, tmp_path, lambda *told: None, workers=0, resume=True, from_step=1)


def test_matrices_are_small_in_the_stage_that_freezes_them_and_whole_in_that_which_does_not(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path / "start", video_lm().to(torch.bfloat16).float(), tokenizer(), {}, torch.bfloat16)
    seen: list[torch.dtype] = []
    forward = NextToken.forward

    def heard(self: NextToken, model: Any, batch: Any) -> Any:
        layer = model.language.get_submodule("base_model.layers.0.mlp.up_proj")
        seen.append(layer.weight.dtype)
        return forward(self, model, batch)

    monkeypatch.setattr(NextToken, "forward", heard)
    still = {"language": "frozen"}
    plan = recipe(
        stage(labels, "a", steps=1, precision="bfloat16", train=still),
        stage(labels, "b", steps=1, precision="bfloat16", train={"language": "full"}),
        stage(labels, "c", steps=1, precision="bfloat16", train=still),
        blueprint=None,
        start=str(tmp_path / "start"),
    )
    train(plan, tmp_path / "runs", lambda *told: None, workers=0)
    # What learned is no longer what sixteen bits hold.
    assert seen == [torch.bfloat16, torch.float32, torch.float32]


def test_a_row_that_is_damaged_while_it_is_used_is_put_again_for_later_visits(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first clip that is read is damaged once; the run goes on, and tells of one clip."""
    lost = 0
    checked = cache_module._checksum

    def once(tensors: Any) -> int:
        nonlocal lost
        if reading and not lost:
            lost += 1
            return -1
        return checked(tensors)

    reading = False

    def report(task: str, done: int, total: int, note: str = "") -> None:
        nonlocal reading
        reading = reading or (task, done) == ("a: read clips", 3)
        notes.append(note)

    notes: list[str] = []
    monkeypatch.setattr(cache_module, "_checksum", once)
    train(recipe(stage(labels, steps=4, cache={"keep": "features"})), tmp_path, report, workers=0)
    assert lost == 1
    assert notes[-1].endswith("; 1 damaged clip of the cache computed anew")
