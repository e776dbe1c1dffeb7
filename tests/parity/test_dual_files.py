"""Files of dual encoders that are damaged, of another family, or would run code."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai_tools as openai
import pytest
import torch
from dual_tools import (
    TEMPORAL,
    TEXT,
    WIDTH,
    authors,
)
from torch import Tensor, nn

from vidapt.errors import CheckpointError
from vidapt.hub import clip_vip, long_clip


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.save(authors(), tmp_path / "clipvip.pt")
    return tmp_path / "clipvip.pt"


def respelled(path: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    state = authors()
    change(state)
    torch.save(state, path)
    return path


def message(path: Path, opener: Any = clip_vip.open_dual_encoder) -> str:
    with pytest.raises(CheckpointError) as caught:
        opener(path)
    assert caught.value.remedy
    assert path.name in str(caught.value)
    return str(caught.value)


BIAS = "clipmodel.text_model.final_layer_norm.bias"


def test_a_missing_tensor_is_named(published: Path) -> None:
    assert "text.net.final_layer_norm.bias [64]" in message(respelled(published, lambda s: s.pop(BIAS)))


def test_a_tensor_too_many_is_named(published: Path) -> None:
    key = "clipmodel.audio.weight"
    assert key in message(respelled(published, lambda s: s.update({key: torch.zeros(2)})))


def test_a_layer_that_is_not_whole_is_named(published: Path) -> None:
    key = "clipmodel.vision_model.encoder.layers.2.layer_norm1.bias"
    text = message(respelled(published, lambda s: s.update({key: torch.zeros(WIDTH)})))
    assert "are missing" in text


def test_a_wrong_shape_is_named(published: Path) -> None:
    text = message(respelled(published, lambda s: s.update({BIAS: torch.zeros(3)})))
    assert "expected [64], found [3]" in text


def test_two_layouts_at_once_are_refused(published: Path) -> None:
    text = message(respelled(published, lambda s: s.update({f"module.{BIAS}": torch.zeros(TEXT)})))
    assert "mixes two layouts" in text


def test_whole_numbers_for_weights_are_refused(published: Path) -> None:
    quantised = torch.zeros(TEXT, dtype=torch.int8)
    assert "int8" in message(respelled(published, lambda s: s.update({BIAS: quantised})))


@pytest.mark.parametrize(
    "key", ["vision_model.embeddings.class_embedding", "text_projection.weight", TEMPORAL]
)
def test_a_missing_tensor_that_tells_a_size_is_named(published: Path, key: str) -> None:
    message(respelled(published, lambda s: s.pop(f"clipmodel.{key}")))


@pytest.mark.parametrize(
    ("key", "tensor"),
    [
        ("vision_model.embeddings.position_embedding.weight", torch.zeros(4, WIDTH)),
        ("vision_model.encoder.layers.0.layer_norm1.weight", torch.zeros(100)),
        ("vision_model.embeddings.patch_embedding.weight", torch.zeros(3)),
    ],
)
def test_sizes_that_cannot_be_are_refused(published: Path, key: str, tensor: Tensor) -> None:
    message(respelled(published, lambda s: s.update({f"clipmodel.{key}": tensor})))


def test_the_other_family_is_refused(published: Path, tmp_path: Path) -> None:
    torch.save(openai.state(248, long=True), tmp_path / "long.pt")
    assert "belong to no part of a clip_vip model" in message(tmp_path / "long.pt")
    assert "belong to no part of a long_clip model" in message(published, long_clip.open_dual_encoder)


class Harm:
    """Unpickling it would make a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.place),)


OPENERS = pytest.mark.parametrize("opener", [clip_vip.open_dual_encoder, long_clip.open_dual_encoder])


@OPENERS
@pytest.mark.parametrize("by", ["torch", "old torch", "pickle"])
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, opener: Any, by: str) -> None:
    path, harm = tmp_path / "weights.pt", Harm(tmp_path / "harmed")
    if by == "pickle":
        path.write_bytes(pickle.dumps({"weight": harm}))
    else:
        torch.save({"weight": harm}, path, _use_new_zipfile_serialization=by == "torch")
    assert "run code" in message(path, opener)
    assert not harm.place.exists()


@OPENERS
def test_a_whole_pickled_model_is_refused(tmp_path: Path, opener: Any) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    assert "is not opened" in message(tmp_path / "model.pt", opener)


@OPENERS
@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {"weight": torch.zeros(1)}, "epoch": 3}, {1: 2}])
def test_other_content_is_refused(tmp_path: Path, opener: Any, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pt")
    assert "state_dict" in message(tmp_path / "weights.pt", opener)


@OPENERS
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("new", [True, False])
def test_a_truncated_file_is_refused(tmp_path: Path, opener: Any, share: float, new: bool) -> None:
    path = tmp_path / "weights.pt"
    torch.save(authors(), path, _use_new_zipfile_serialization=new)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    message(path, opener)


@OPENERS
def test_another_archive_is_refused(tmp_path: Path, opener: Any) -> None:
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    message(tmp_path / "weights.pt", opener)


@OPENERS
def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path, opener: Any) -> None:
    assert "no such file" in message(tmp_path / "absent.pt", opener)
    (tmp_path / "empty").mkdir()
    assert "0 files of pickled weights" in message(tmp_path / "empty", opener)


@torch.no_grad()
def test_an_old_file_that_cannot_be_mapped_opens(published: Path) -> None:
    mapped, _ = clip_vip.open_dual_encoder(published)
    # In a file of its own: what is mapped must not be written over.
    old = published.with_name("old.pt")
    torch.save(authors(), old, _use_new_zipfile_serialization=False)
    read, _ = clip_vip.open_dual_encoder(old)
    assert all(torch.equal(read.state_dict()[key], tensor) for key, tensor in mapped.state_dict().items())


@OPENERS
def test_a_torchscript_archive_is_refused(tmp_path: Path, opener: Any) -> None:
    """OpenAI's own files are such archives; they hold code beside the weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "model.pt"))
    assert "TorchScript" in message(tmp_path / "model.pt", opener)
