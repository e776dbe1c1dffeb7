"""Cells are joined in the order of the originals, and read by what they are read by there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import InternVLConfig, MiniCPMV4_6Config, SmolVLMConfig
from transformers.models.internvl.modeling_internvl import InternVLModel, InternVLMultiModalProjector
from transformers.models.minicpmv4_6.modeling_minicpmv4_6 import MiniCPMV4_6Merger
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMConnector

from vidapt.connectors.pixel_shuffle import Part
from vidapt.nouns import Features, Grid

TEXT = {"hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
SEEN = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}


def shaken(module: Any) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


def cells(h: int, w: int) -> Tensor:
    """[2, 3, h, w, 8]."""
    return torch.randn(2, 3, h, w, 8, generator=torch.Generator().manual_seed(1))


def put(part: Part, theirs: dict[str, nn.Module]) -> Part:
    """Our part with their weights."""
    for name, module in theirs.items():
        part.get_submodule(name).load_state_dict(module.state_dict())
    return part.eval()


@torch.no_grad()
def internvl() -> tuple[Part, Any]:
    config = InternVLConfig(text_config={**TEXT, "model_type": "qwen2"}, vision_config=SEEN)
    theirs = shaken(InternVLMultiModalProjector(config))
    ours = put(
        Part(Part.Config(), width_in=8, width_out=12),
        {"norm": theirs.layer_norm, "mlp.0": theirs.linear_1, "mlp.2": theirs.linear_2},
    )

    def read(x: Tensor) -> Tensor:
        joined = InternVLModel.pixel_shuffle(None, x.flatten(0, 1), 0.5)
        return theirs(joined.flatten(1, 2))

    return ours, read


@torch.no_grad()
def smolvlm() -> tuple[Part, Any]:
    config = SmolVLMConfig(text_config={**TEXT, "model_type": "llama"}, vision_config=SEEN, scale_factor=3)
    theirs = shaken(SmolVLMConnector(config))
    chosen = Part.Config(stride=3, norm=False, depth=1, bias=False)
    ours = put(Part(chosen, width_in=8, width_out=12), {"mlp.0": theirs.modality_projection.proj})
    return ours, lambda x: theirs(x.flatten(2, 3).flatten(0, 1))


@torch.no_grad()
def minicpm() -> tuple[Part, Any]:
    config = MiniCPMV4_6Config(text_config={**TEXT, "model_type": "qwen3_5_text"}, vision_config=SEEN)
    theirs = shaken(MiniCPMV4_6Merger(config))
    mlp = theirs.mlp[0]
    chosen = Part.Config(eps=1e-6, hidden="joined")
    ours = put(
        Part(chosen, width_in=8, width_out=12),
        {"norm": mlp.pre_norm, "mlp.0": mlp.linear_1, "mlp.2": mlp.linear_2},
    )

    def read(x: Tensor) -> Tensor:
        frames = x.flatten(0, 1)
        sizes = torch.tensor([frames.shape[1:3]] * len(frames))
        return torch.stack(theirs(frames.flatten(0, 2)[None], sizes))

    return ours, read


@pytest.mark.parametrize("make", [internvl, smolvlm, minicpm])
@torch.no_grad()
def test_tokens_are_those_of_the_original(make: Any) -> None:
    ours, theirs = make()
    x = cells(6, 6)
    tokens = ours(Features(x))
    expected = theirs(x).reshape(2, -1, 12)
    assert expected.std() > 0.01
    torch.testing.assert_close(tokens.x, expected, atol=1e-5, rtol=1e-5)
    swapped = ours(Features(x.transpose(2, 3))).x
    assert (swapped - expected).abs().max() > 1e-2


def test_longer_pictures_keep_their_grid() -> None:
    ours, theirs = minicpm()
    x = cells(4, 8)
    with torch.no_grad():
        tokens = ours(Features(x))
        torch.testing.assert_close(tokens.x, theirs(x).reshape(2, -1, 12), atol=1e-5, rtol=1e-5)
    assert tokens.grid == Grid(3, 2, 4)


def test_an_incomplete_block_repeats_its_last_cells() -> None:
    ours, _ = internvl()
    x = cells(3, 5)
    whole = torch.cat([x, x[:, :, -1:]], dim=2)
    whole = torch.cat([whole, whole[:, :, :, -1:]], dim=3)
    torch.testing.assert_close(ours(Features(x)).x, ours(Features(whole)).x)


def test_what_cannot_be_joined_is_refused() -> None:
    ours, _ = internvl()
    with pytest.raises(ValueError, match="got 2 sets"):
        ours(Features(cells(2, 2)), Features(cells(2, 2)))
    with pytest.raises(ValueError, match="1 tokens besides"):
        ours(Features(cells(2, 2), torch.zeros(2, 1, 8)))
