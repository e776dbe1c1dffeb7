"""Opening a model that vidapt saved takes the memory of its weights and no more; its file is left alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from align_tools import dual
from safetensors.torch import load_file, save_file
from torch import nn
from training_tools import assert_equal, blueprint, random_features, tokenizer, video_lm

from vidapt.connectors import pool_mlp
from vidapt.errors import CheckpointError
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import open_dual, save_dual
from vidapt.models.folder import open_folder, save_model
from vidapt.models.packed import Group, pack
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint, DualBlueprint

WEIGHTS = "model.safetensors"

MEASURE = """
import re, sys
from pathlib import Path
import torch
from vidapt.models.folder import open_folder

def peak():
    # Not what getrusage tells, which counts what the process was that started this one.
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) * 1024

open_folder(Path(sys.argv[1]))
before = peak()
dtype = getattr(torch, sys.argv[3])
model = open_folder(Path(sys.argv[2]), dtype)[0]
held = sum(w.numel() * w.element_size() for w in model.parameters())
print((peak() - before) / held)
"""
"""Opens a tiny model and then a large one; prints how many times its own size the second took."""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", video_lm(), tokenizer(), {})
    return tmp_path / "model"


def logits(model: VideoLM) -> torch.Tensor:
    features = random_features(3, torch.float32, 0)
    encoded = Encoded((0,), (5, 6, 7, 8), (True,) * 4)
    group = Group((encoded,), ((model.connector.plan(features.grid),),))
    return model(pack([group], model.positions), model.connect(features).x[0])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 megabytes in float32."""
    folder = tmp_path_factory.mktemp("large")
    sizes = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 4}
    save_model(folder / "large", video_lm(language=sizes), tokenizer(), {})
    save_model(folder / "tiny", video_lm(), tokenizer(), {})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_opening_takes_the_memory_of_the_weights(large: Path, dtype: str) -> None:
    command = [sys.executable, "-c", MEASURE, str(large / "tiny"), str(large / "large"), dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0.9 < float(done.stdout) < 1.25


def test_weights_are_kept_as_stored_if_asked(tmp_path: Path) -> None:
    save_model(tmp_path / "half", video_lm(), tokenizer(), {}, torch.bfloat16)
    kept, _ = open_folder(tmp_path / "half", None)
    assert {weight.dtype for weight in kept.parameters()} == {torch.bfloat16}
    assert_equal(kept.state_dict(), video_lm().to(torch.bfloat16).state_dict())
    exact, _ = open_folder(tmp_path / "half")
    assert {weight.dtype for weight in exact.parameters()} == {torch.float32}


def test_what_is_computed_and_not_saved_keeps_its_precision(saved: Path) -> None:
    half, _ = open_folder(saved, torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    frequencies = half.language.model.rotary_emb.inv_freq
    assert torch.equal(frequencies, video_lm().language.model.rotary_emb.inv_freq)


@pytest.mark.parametrize("changes", [{}, {"adapters": {"rank": 2, "alpha": 4}}], ids=["plain", "adapters"])
def test_an_opened_model_computes_the_same_bits_as_the_saved_one(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    model = video_lm(language={"tie_word_embeddings": True}, **changes)
    save_model(tmp_path / "model", model, tokenizer(), {})
    opened, _ = open_folder(tmp_path / "model")
    assert_equal(opened.state_dict(), model.state_dict())
    assert torch.equal(logits(opened), logits(model))
    # The last bits of a product depend on it, and a resumed run must not differ in any.
    assert all(weight.data_ptr() % 64 == 0 for weight in opened.parameters())
    before = {name: weight.requires_grad for name, weight in model.named_parameters()}
    assert {name: weight.requires_grad for name, weight in opened.named_parameters()} == before


def test_training_an_opened_model_leaves_its_file_alone(saved: Path) -> None:
    written = (saved / WEIGHTS).read_bytes()
    model, _ = open_folder(saved)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    logits(model).square().mean().backward()
    optimizer.step()
    assert not torch.equal(logits(model), logits(open_folder(saved)[0]))
    assert (saved / WEIGHTS).read_bytes() == written


@pytest.mark.parametrize("fate", ["deleted", "emptied", "saved over", "saved over by itself"])
def test_a_model_outlives_its_file(saved: Path, fate: str) -> None:
    model, words = open_folder(saved)
    expected = logits(model)
    if fate == "deleted":
        shutil.rmtree(saved)
    elif fate == "emptied":
        (saved / WEIGHTS).write_bytes(b"")
    else:
        other = model if fate.endswith("itself") else video_lm(connector={"kind": "pool_mlp", "pool": "none"})
        save_model(saved, other, words, {})
    assert torch.equal(logits(model), expected)
    if fate == "saved over by itself":
        assert torch.equal(logits(open_folder(saved)[0]), expected)


def test_tied_embeddings_that_differ_in_the_file_are_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "model", video_lm(language={"tie_word_embeddings": True}), tokenizer(), {})
    file = tmp_path / "model" / WEIGHTS
    tensors = load_file(file)
    words = "language.model.embed_tokens.weight"
    save_file({**tensors, "language.lm_head.weight": tensors[words].clone()}, file)
    model, _ = open_folder(tmp_path / "model")
    assert model.language.lm_head.weight is model.language.model.embed_tokens.weight
    save_file({**tensors, "language.lm_head.weight": tensors[words] + 1}, file)
    with pytest.raises(CheckpointError, match=r"language\.model\.embed_tokens\.weight .* are one tensor"):
        open_folder(tmp_path / "model")
    del tensors[words]
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"missing: language\.model\.embed_tokens\.weight"):
        open_folder(tmp_path / "model")


class Counting(pool_mlp.Part):
    """A connector with a whole number that is saved, and one that it works out from its first weights."""

    class Config(pool_mlp.Part.Config):
        derived: bool = False

    def __init__(self, cfg: Config, *, width_in: int, width_out: int) -> None:
        super().__init__(cfg, width_in=width_in, width_out=width_out)
        self.register_buffer("steps", torch.tensor(0))
        self.tied = nn.Linear(2, 2)
        self.again = self.tied
        if cfg.derived:
            self.register_buffer("mean", self.tied.weight.detach().mean(), persistent=False)


KIND = f"{__name__}:Counting"


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    model = VideoLM(Blueprint.model_validate(blueprint(connector={"kind": KIND})))
    model.connector.steps.fill_(7)
    save_model(tmp_path / "counting", model.eval(), tokenizer(), {})
    return tmp_path / "counting"


def test_numbers_that_are_no_weights_are_kept_and_checked(counting: Path) -> None:
    model, _ = open_folder(counting, torch.bfloat16)
    assert model.connector.steps.item() == 7
    assert model.connector.steps.dtype == torch.long
    assert model.connector.again.weight is model.connector.tied.weight
    tensors = load_file(counting / WEIGHTS)
    save_file({**tensors, "connector.steps": torch.tensor(7.0)}, counting / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"wrong kind: connector.steps is torch.float32.* torch.int64"):
        open_folder(counting)
    del tensors["connector.steps"]
    save_file(tensors, counting / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"missing: connector.steps \(\)"):
        open_folder(counting)


def test_a_part_that_keeps_what_it_worked_out_from_random_weights_is_refused(counting: Path) -> None:
    described = json.loads((counting / "blueprint.json").read_text(encoding="utf-8"))
    described["connector"]["derived"] = True
    (counting / "blueprint.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"has no values for connector\.mean"):
        open_folder(counting)


def test_a_dual_encoder_opens_without_memory_for_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dual()
    given["text"]["arch"]["vocab_size"] = 270
    model = DualEncoder(DualBlueprint.model_validate(given)).eval()
    save_dual(tmp_path / "kept", model, None, {})
    sizes: list[str] = []
    filled = torch.nn.init.normal_

    def watched(tensor: torch.Tensor, *args: float, **named: float) -> torch.Tensor:
        sizes.append(tensor.device.type)
        return filled(tensor, *args, **named)

    monkeypatch.setattr(torch.nn.init, "normal_", watched)
    opened, _ = open_dual(tmp_path / "kept", None)
    assert set(sizes) <= {"meta"}
    assert_equal(opened.state_dict(), model.state_dict())
    assert (
        {name for name, w in opened.named_parameters() if not w.requires_grad} == opened.fixed == model.fixed
    )
