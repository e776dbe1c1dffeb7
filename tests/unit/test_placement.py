"""Quantised and spread models answer nearly, or exactly, as the whole one does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from training_tools import random_features, tokenizer, video_lm

from vidapt.inference.engine import Engine
from vidapt.loading import number_format
from vidapt.models.generate import _Rows
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


def places(words: str, *layers: str) -> dict[str, str]:
    """Where word embeddings (and the output layer) and each of the language model's layers lie."""
    found = {f"model.layers.{index}": place for index, place in enumerate(layers)}
    return found | {
        "model.embed_tokens": words,
        "lm_head": words,
        "model.norm": "cpu",
        "model.rotary_emb": "cpu",
    }


PLACES = [places("cpu", "cpu", "disk"), places("disk", "disk", "cpu")]


@pytest.mark.parametrize("where", PLACES, ids=["last layers", "word embeddings"])
def test_layers_on_several_places_give_the_same(tmp_path: Path, where: dict[str, str]) -> None:
    whole = logits(video_lm())
    model = video_lm()
    spread(model, where, str(tmp_path / "offload"))
    assert list((tmp_path / "offload").iterdir())
    assert model.device.type == "cpu"
    torch.testing.assert_close(logits(model), whole)


@pytest.mark.parametrize("where", PLACES, ids=["last layers", "word embeddings"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_model_is_known_again_wherever_its_weights_lie(
    tmp_path: Path, where: dict[str, str], dtype: torch.dtype, *, tied: bool
) -> None:
    words = tokenizer()

    def engine(change: float = 0.0) -> Engine:
        model = video_lm(dtype, language={"tie_word_embeddings": tied})
        with torch.no_grad():
            model.language.model.layers[1].self_attn.q_proj.weight[0, 0] += change
        return Engine(model, words, "tiny")

    whole, other = engine(), engine(change=1.0)
    assert whole.fingerprint != other.fingerprint
    for index, (one, expected) in enumerate([(engine(), whole), (engine(change=1.0), other)]):
        spread(one.model, where, str(tmp_path / f"offload{index}"))
        assert any(weight.is_meta for weight in one.model.parameters())
        assert one.fingerprint == expected.fingerprint
        assert any(weight.is_meta for weight in one.model.parameters())
    assert whole.fingerprint == Engine(whole.model, words, "tiny").fingerprint


class Layer:
    """A cache's layer on a device of its own, which remembers where it was asked from."""

    def __init__(self, device: str) -> None:
        self.keys = torch.empty(2, 1, 1, 1, device=device)
        self.asked: list[str] = []

    def batch_select_indices(self, index: torch.Tensor) -> None:
        self.asked.append(index.device.type)


def test_rows_of_a_cache_are_chosen_where_each_layer_lies() -> None:
    cache = SimpleNamespace(layers=[Layer("cpu"), Layer("meta")])
    rows = _Rows(cache, torch.ones(2, 3, dtype=torch.long), torch.zeros(1, 2, 3), done=3)
    rows.keep(torch.tensor([1]))
    assert [layer.asked for layer in cache.layers] == [["cpu"], ["meta"]]
    assert rows.mask.shape == (1, 3)


def test_a_gpu_that_computes_in_bfloat16_answers_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert number_format("cpu") == number_format("auto") == torch.float32
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for able, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda able=able: able)
        assert number_format("cuda:1") == number_format("auto") == expected
        assert number_format("cpu") == torch.float32
