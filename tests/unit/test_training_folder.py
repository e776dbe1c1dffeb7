"""A model's folder and a stage's checkpoints: strict to read, never half written."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from training_tools import tokenizer, video_lm

from vidapt import files
from vidapt.errors import CheckpointError, ConfigError, VidaptError
from vidapt.inference.load import load
from vidapt.loading import locate, open_model
from vidapt.models import folder as folder_module
from vidapt.models.folder import save_model
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Optimizer, Trained
from vidapt.training import checkpoint as checkpoint_module
from vidapt.training.checkpoint import StageProgress, checkpoints, load_checkpoint, save_checkpoint
from vidapt.training.freeze import set_trainable
from vidapt.training.optimizer import make_optimizer

WEIGHTS = "model.safetensors"

NO_OBJECTS = [b"\xff\xfe{", b"[" * 100_000, b"null", b"[1]"]
"""What a JSON file may hold instead of an object."""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", video_lm(), tokenizer(), {"stage": "a"})
    return tmp_path / "model"


def test_a_model_reopens_as_it_was(saved: Path) -> None:
    model, words = open_model(saved)
    before, after = video_lm().state_dict(), model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not model.training
    assert words("what is it?").input_ids == tokenizer()("what is it?").input_ids
    assert json.loads((saved / "card.json").read_text(encoding="utf-8")) == {"stage": "a"}


def test_tied_embeddings_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    tied = video_lm(language={"tie_word_embeddings": True})
    save_model(tmp_path / "model", tied, tokenizer(), {})
    assert "language.lm_head.weight" not in load_file(tmp_path / "model" / WEIGHTS)
    model, _ = open_model(tmp_path / "model")
    assert model.language.lm_head.weight is model.language.model.embed_tokens.weight
    assert torch.equal(model.language.lm_head.weight, tied.language.lm_head.weight)


def test_weights_can_be_stored_in_half(tmp_path: Path) -> None:
    save_model(tmp_path / "model", video_lm(), tokenizer(), {}, torch.float16)
    stored = load_file(tmp_path / "model" / WEIGHTS)
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {torch.float16}
    model, _ = open_model(tmp_path / "model")
    assert next(model.parameters()).dtype == torch.float32


def lose(tensors: dict[str, Any]) -> None:
    del tensors["connector.mlp.0.weight"]


def reshape(tensors: dict[str, Any]) -> None:
    tensors["connector.mlp.0.weight"] = torch.zeros(2, 3)


def add(tensors: dict[str, Any]) -> None:
    tensors["connector.mlp.7.weight"] = torch.zeros(1)


def quantise(tensors: dict[str, Any]) -> None:
    tensors["connector.mlp.0.weight"] = tensors["connector.mlp.0.weight"].to(torch.int8)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (quantise, r"wrong kind: connector.mlp.0.weight is torch.int8, the model has torch.float32"),
        (lose, r"missing: connector.mlp.0.weight \(16, 16\)"),
        (reshape, r"wrong shape: connector.mlp.0.weight is \(2, 3\), the model has \(16, 16\)"),
        (add, r"unexpected: connector.mlp.7.weight \(1,\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(
    saved: Path, damage: Callable[[dict[str, Any]], None], found: str
) -> None:
    tensors = load_file(saved / WEIGHTS)
    damage(tensors)
    save_file(tensors, saved / WEIGHTS)
    with pytest.raises(CheckpointError, match=found) as caught:
        open_model(saved)
    assert str(saved / WEIGHTS) in str(caught.value)


@pytest.mark.parametrize("name", [WEIGHTS, "blueprint.json", "tokenizer.json"])
def test_a_truncated_file_is_named(saved: Path, name: str) -> None:
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=str(saved)):
        open_model(saved)


@pytest.mark.parametrize("name", ["blueprint.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "content", [b"\xff\xfe{", b"null", b"[1]", b'{"eos_token": 5}', b"[" * 100_000], ids=len
)
def test_a_file_that_holds_something_else_is_named(saved: Path, name: str, content: bytes) -> None:
    (saved / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=str(saved)):
        open_model(saved)


@pytest.mark.parametrize("content", [*NO_OBJECTS[:2], b"[1]", b"{"], ids=len)
def test_a_card_that_holds_something_else_is_named(saved: Path, content: bytes) -> None:
    (saved / "card.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"card\.json: is damaged"):
        load(saved)


@pytest.mark.parametrize(
    "finished", [3, "01-a", {"a": 1}, [None], ["../01-a"], ["01-b"], ["a" * 5000], ["a\0b"]]
)
def test_a_run_that_says_nonsense_is_refused(tmp_path: Path, finished: object) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"finished": finished}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"is damaged|is gone"):
        locate(tmp_path)


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"], ids=len)
def test_a_name_that_no_file_can_have_is_no_model(name: str) -> None:
    with pytest.raises(CheckpointError, match="there is no such model"):
        locate(name)


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=str(saved)):
        open_model(saved)


def test_where_there_is_no_model_the_way_to_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such model"):
        locate(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"neither blueprint\.json, .* nor adapter_config\.json"):
        locate(tmp_path)
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is a file"):
        locate(tmp_path / "weights.pt")
    (tmp_path / "run.json").write_text('{"finished": []}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="no stage of this run is finished"):
        locate(tmp_path)
    (tmp_path / "run.json").write_text('{"fini', encoding="utf-8")
    with pytest.raises(CheckpointError, match="is damaged"):
        locate(tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta:x"])
def test_a_device_that_is_not_there_is_refused(saved: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=f"'{device}' cannot be used"):
        open_model(saved, device=device)


class Stage:
    """A model with an optimizer that has taken a step."""

    def __init__(self) -> None:
        self.model = video_lm()
        set_trainable(self.model, Trained(language="frozen"))
        self.objective = NextToken(NextToken.Config())
        self.optimizer = make_optimizer(self.model, self.objective, Optimizer())
        for weight in self.model.connector.parameters():
            weight.grad = torch.ones_like(weight)
        self.optimizer.step()

    def save(self, folder: Path, step: int) -> Path:
        return save_checkpoint(
            folder, self.model, self.objective, self.optimizer, StageProgress(step, 0.5, 1.0)
        )

    def load(self, path: Path) -> StageProgress:
        return load_checkpoint(path, self.model, self.objective, self.optimizer)


def test_a_checkpoint_restores_weights_optimizer_and_chance(tmp_path: Path) -> None:
    stage = Stage()
    torch.manual_seed(5)
    path = stage.save(tmp_path, 3)
    expected = torch.rand(3)
    fresh = Stage()
    with torch.no_grad():
        next(fresh.model.connector.parameters()).zero_()
    fresh.optimizer.step()
    assert fresh.load(path) == StageProgress(3, 0.5, 1.0)
    assert torch.equal(torch.rand(3), expected)
    for left, right in zip(stage.model.parameters(), fresh.model.parameters(), strict=True):
        assert torch.equal(left, right)
    left, right = stage.optimizer.state_dict()["state"], fresh.optimizer.state_dict()["state"]
    assert all(torch.equal(left[i]["exp_avg"], right[i]["exp_avg"]) for i in left)


def test_buffers_of_a_part_that_trains_are_restored(tmp_path: Path) -> None:
    stage = Stage()
    stage.model.connector.register_buffer("running", torch.tensor([1.0]))
    path = stage.save(tmp_path, 1)
    stage.model.connector.running.fill_(9)
    stage.load(path)
    assert stage.model.connector.running.item() == 1


def test_only_what_learns_is_in_a_checkpoint(tmp_path: Path) -> None:
    names = load_file(Stage().save(tmp_path, 1) / "trainable.safetensors").keys()
    assert {name.partition(".")[0] for name in names} == {"connector"}


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_up_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage()
    first = stage.save(tmp_path, 1)
    content = {file.name: file.read_bytes() for file in first.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module.torch, "save", full_disk)
        with pytest.raises(VidaptError, match="the disk is full") as caught:
            stage.save(tmp_path, 2)
    assert "free some space" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    assert {file.name: file.read_bytes() for file in first.iterdir()} == content
    assert checkpoints(tmp_path) == [first]
    assert stage.load(first).step == 1


@pytest.mark.parametrize("error", [SafetensorError("I/O error"), RuntimeError("unexpected pos 576")])
def test_a_full_disk_is_recognised_behind_the_errors_of_libraries(
    saved: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    # Neither safetensors nor torch hands on the system's error number.
    def fail(*_: Any, **__: Any) -> None:
        raise error

    before = (saved / WEIGHTS).read_bytes()
    monkeypatch.setattr(folder_module, "save_file", fail)
    with pytest.raises(type(error)):
        save_model(saved, video_lm(), tokenizer(), {})
    monkeypatch.setattr(files.tempfile, "TemporaryFile", full_disk)
    with pytest.raises(VidaptError, match="the disk is full"):
        save_model(saved, video_lm(), tokenizer(), {})
    assert (saved / WEIGHTS).read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_folder_that_may_not_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.tempfile, "mkdtemp", refuse)
    with pytest.raises(VidaptError, match="may not be written"):
        Stage().save(tmp_path, 1)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def half(temporary: Path) -> None:
        temporary.write_text("half", encoding="utf-8")
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        files.write_file(path, half)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for text in ("old", "new"):
        with files.write_folder(target) as temporary:
            (temporary / "x").write_text(text, encoding="utf-8")
        assert (target / "x").read_text(encoding="utf-8") == text

    def interrupted() -> None:
        with files.write_folder(target) as temporary:
            (temporary / "x").write_text("third", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (target / "x").read_text(encoding="utf-8") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_card_is_read_back_and_a_damaged_one_is_named(saved: Path) -> None:
    assert folder_module.read_card(saved) == {"stage": "a"}
    (saved / "card.json").write_text('{"stage": ', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"card\.json: is damaged"):
        folder_module.read_card(saved)
    (saved / "card.json").unlink()
    assert folder_module.read_card(saved) == {}
