"""Sources of weights that are hostile, damaged, or of other sizes than they say."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compose_refusal_tools import Made, copied, edit, plan, refused
from safetensors.torch import load_file, save_file

from vidapt.errors import CheckpointError


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_a_folder_of_another_sort(made: Made, tmp_path: Path) -> None:
    other = copied(made("llama")[0], tmp_path)
    edit(other / "config.json", model_type="bert", architectures=["BertModel"])
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5" / "config.json").write_text(json.dumps({"model_type": "t5"}))
    found = refused([{"weights": str(tmp_path / "t5")}], {"weights": made("llama")[0]})
    assert "model_type is 't5', which is no part that can be taken" in found


def test_code_of_a_checkpoints_own_is_not_run(made: Made, tmp_path: Path) -> None:
    other = copied(made("llama")[0], tmp_path)
    edit(other / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config"})
    (other / "mine.py").write_text(f"import os; os.mkdir({str(tmp_path / 'ran')!r})")
    found = refused([{"weights": made("clip")[0]}], {"weights": str(other)})
    assert "its configuration cannot be read" in found
    assert not (tmp_path / "ran").exists()


def hostile(file: Path) -> Path:
    torch.save({"x": Hostile(file.parent / "ran")}, file)
    return file


def test_a_pickle_that_would_run_code(made: Made, tmp_path: Path) -> None:
    words = {"weights": made("llama")[0]}
    found = refused([{"weights": str(hostile(tmp_path / "tower.pt"))}], words)
    assert "blueprint.towers.0.weights" in found
    assert "is not opened" in found
    clip = copied(made("clip_pickled")[0], tmp_path)
    hostile(clip / "pytorch_model.bin")
    assert "is not opened" in refused([{"weights": str(clip)}], words)
    assert not (tmp_path / "ran").exists()
    assert not (clip / "ran").exists()


@pytest.mark.parametrize("sharded", [False, True])
def test_pickled_words_that_would_run_code(made: Made, tmp_path: Path, sharded: bool) -> None:
    words = copied(made("llama")[0], tmp_path)
    for file in [*words.glob("*.safetensors"), words / "model.safetensors.index.json"]:
        file.unlink()
    name = "pytorch_model-00001-of-00001.bin" if sharded else "pytorch_model.bin"
    hostile(words / name)
    if sharded:
        index = {"metadata": {}, "weight_map": {"x": name}}
        (words / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert "is not opened" in refused([{"weights": made("clip")[0]}], {"weights": str(words)})
    assert not (words / "ran").exists()


def tampered(source: str, folder: Path, change: Callable[[dict[str, Any]], Any]) -> str:
    place = copied(source, folder)
    (file,) = place.glob("*.safetensors")
    state = load_file(file)
    change(state)
    save_file(state, file, {"format": "pt"})
    return str(place)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda s: s.pop("encoder.layer.1.norm1.bias"),
            r"1 tensor\(s\) are missing:\n +encoder.layer.1.norm1.bias",
        ),
        (lambda s: s.update(odd=torch.ones(2)), r"1 tensor\(s\) have no place in the model:\n +odd"),
        (
            lambda s: s.update({"embeddings.cls_token": torch.ones(1, 1, 9)}),
            r"embeddings.cls_token: expected \[1, 1, 16\], found \[1, 1, 9\]",
        ),
    ],
)
def test_every_tensor_of_a_tower_is_accounted_for(made: Made, tmp_path: Path, change: Any, said: str) -> None:
    place = tampered(made("dinov2")[0], tmp_path, change)
    planned = plan([{"weights": place}], {"weights": made("llama")[0]})
    with pytest.raises(CheckpointError, match=said):
        planned.make(planned.blueprint, seed=0)


def test_a_configuration_of_other_sizes_than_the_weights(made: Made, tmp_path: Path) -> None:
    words = copied(made("llama")[0], tmp_path)
    edit(words / "config.json", intermediate_size=48)
    planned = plan([{"weights": made("clip")[0]}], {"weights": str(words)})
    with pytest.raises(CheckpointError, match=r"mlp.down_proj.weight: expected \[24, 48\], found \[24, 32\]"):
        planned.make(planned.blueprint, seed=0)


def test_weights_that_cannot_be_adapted(made: Made, tmp_path: Path) -> None:
    words = copied(made("llama")[0], tmp_path)
    (words / "adapter_config.json").write_text("{}")
    planned = plan([{"weights": made("clip")[0]}], {"weights": str(words)})
    with pytest.raises(CheckpointError, match="holds low-rank adapters beside its weights"):
        planned.make(planned.blueprint, seed=0)
    (words / "adapter_config.json").unlink()
    edit(words / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    planned = plan([{"weights": made("clip")[0]}], {"weights": str(words)})
    with pytest.raises(CheckpointError, match="its weights are quantised"):
        planned.make(planned.blueprint, seed=0)
