"""Quantised and spread models answer nearly, or exactly, as the whole one does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_tools import random_features, video_lm

from vidapt.models.packed import Group, pack
from vidapt.models.placement import quantize, spread
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM

QUESTION = (5, 6, 7, 8)


def logits(model: VideoLM) -> torch.Tensor:
    features = random_features(3, torch.float32, 0)
    encoded = Encoded((0,), QUESTION, (True,) * len(QUESTION))
    group = Group((encoded,), ((model.connector.plan(features.grid),),))
    with torch.no_grad():
        return model(pack([group], model.positions), model.connect(features).x[0])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.filterwarnings("ignore")
def test_quantised_layers_take_less_and_say_nearly_the_same(bits: int) -> None:
    pytest.importorskip("bitsandbytes")
    whole = logits(video_lm())
    model = video_lm()
    before = sum(w.numel() * w.element_size() for w in model.language.model.layers.parameters())
    quantize(model, bits)  # type: ignore[arg-type]
    model.to("cpu")
    after = sum(w.numel() * w.element_size() for w in model.language.model.layers.parameters())
    assert after < before * (bits + 2) / 32
    off = (logits(model) - whole).norm() / whole.norm()
    assert 0 < off < (0.5 if bits == 4 else 0.05)


def test_layers_on_several_places_give_the_same(tmp_path: Path) -> None:
    whole = logits(video_lm())
    model = video_lm()
    layers = len(model.language.model.layers)
    places = {f"model.layers.{index}": "disk" if index else "cpu" for index in range(layers)}
    places |= {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    spread(model, places, str(tmp_path / "offload"))
    assert list((tmp_path / "offload").iterdir())
    torch.testing.assert_close(logits(model), whole)
