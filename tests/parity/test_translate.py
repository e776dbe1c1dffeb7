"""A family's key table can be applied by itself, there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai_tools
import parity_tools as tools
import pytest
import qwen2_vl_tools as qwen
import torch
from safetensors.torch import load_file

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import open_checkpoint, open_dual_encoder, translate, translate_back

FOLDERS: dict[str, Any] = {
    "llava": lambda folder: tools.save(tools.llava(), folder),
    "qwen2_vl": lambda folder: qwen.save(qwen.oracle_of(), folder),
}


@pytest.mark.parametrize("family", FOLDERS)
def test_a_published_state_dict_fits_the_opened_model(tmp_path: Path, family: str) -> None:
    FOLDERS[family](tmp_path)
    model, _, _ = open_checkpoint(tmp_path)
    published = load_file(tmp_path / "model.safetensors")
    ours = translate(family, published)
    assert {name: tuple(t.shape) for name, t in ours.items()} == {
        name: tuple(t.shape) for name, t in model.state_dict().items()
    }
    for name, tensor in model.state_dict().items():
        assert torch.equal(ours[name], tensor), name
    again = translate(family, translate_back(family, ours))
    assert again.keys() == ours.keys()
    assert all(torch.equal(again[name], ours[name]) for name in ours)


@pytest.mark.parametrize("long", [False, True], ids=["CLIP", "Long-CLIP"])
def test_what_authors_keep_in_one_tensor_is_parted_and_joined(tmp_path: Path, *, long: bool) -> None:
    published = openai_tools.state(long=long)
    torch.save(published, tmp_path / "clip.pt")
    model, _, _ = open_dual_encoder(tmp_path / "clip.pt")
    ours = translate("long_clip", published)
    assert ours.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in model.state_dict().items())
    back = translate_back("long_clip", ours)
    assert back.keys() == published.keys()
    assert all(torch.equal(back[name], published[name]) for name in published)


def test_some_tensors_are_enough() -> None:
    some = {"visual_projection.weight": torch.ones(2, 3), "text_model.embeddings.position_ids": torch.ones(4)}
    assert translate("clip", some).keys() == {"visual_projection.weight"}


def test_what_is_not_known_is_named() -> None:
    with pytest.raises(ConfigError, match="'llavva' is not known") as told:
        translate("llavva", {})
    assert "llava" in str(told.value.remedy)
    with pytest.raises(CheckpointError, match=r"my file: .*(?s:.*)audio\.weight"):
        translate("llava", {"audio.weight": torch.zeros(1)}, "my file")
    with pytest.raises(CheckpointError, match=r"audio\.weight"):
        translate_back("llava", {"audio.weight": torch.zeros(1)})
