"""Folders of low-rank adapters, as peft writes them, open on their base and on no other."""

from __future__ import annotations

import json
from pathlib import Path

import parity_tools as tools
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

from vidapt.errors import CheckpointError
from vidapt.loading import open_model

CLIP = tools.film(1, 28, 28)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing:FutureWarning"
)  # peft asks for it


@pytest.fixture
def adapter(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A folder peft saved on a saved base, and the logits peft's model gives."""
    base = tools.llava()
    tools.save(base, tmp_path / "base")
    torch.manual_seed(1)
    targets = r".*language_model.*\.(q_proj|v_proj)"
    model = get_peft_model(base, LoraConfig(r=2, lora_alpha=6, target_modules=targets))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.3)
    model.save_pretrained(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": "../base", "target_modules": ["q_proj", "v_proj"]}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    ids = tools.their_ids([tools.CELLS**2], tools.IMAGE)
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, pixel_values=tools.their_pixels(CLIP)).logits
    return tmp_path / "adapter", tools.at_after(logits)


def test_adapters_give_what_peft_gives(adapter: tuple[Path, torch.Tensor]) -> None:
    folder, expected = adapter
    model, _ = open_model(folder)
    assert model.blueprint.adapters is not None
    torch.testing.assert_close(tools.our_logits(model, [[CLIP]]), expected, atol=tools.TOLERANCE, rtol=0)
    bare, _ = open_model(folder.parent / "base")
    assert (tools.our_logits(bare, [[CLIP]]) - expected).abs().max() > 100 * tools.TOLERANCE


def test_adapters_of_another_base_are_refused_by_name(adapter: tuple[Path, torch.Tensor]) -> None:
    folder, _ = adapter
    weights = load_file(folder / "adapter_model.safetensors")
    key = next(key for key in weights if "q_proj.lora_A" in key)
    wider = {**weights, key: torch.zeros(2, 3 * weights[key].shape[1])}
    save_file(wider, str(folder / "adapter_model.safetensors"))
    with pytest.raises(CheckpointError, match=r"q_proj\.lora_A") as error:
        open_model(folder)
    assert "another base" in str(error.value)

    deeper = {**weights, key.replace("layers.0", "layers.9"): weights[key].clone()}
    save_file(deeper, str(folder / "adapter_model.safetensors"))
    with pytest.raises(CheckpointError, match=r"layers\.9"):
        open_model(folder)


@pytest.mark.parametrize(
    "change",
    [{"r": "x"}, {"r": 0}, {"r": None}, {"lora_alpha": []}, {"target_modules": 5}, {"target_modules": [5]}],
)
def test_settings_that_make_no_sense_are_refused(
    adapter: tuple[Path, torch.Tensor], change: dict[str, object]
) -> None:
    path = adapter[0] / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match="describes no adapters"):
        open_model(adapter[0])


@pytest.mark.parametrize(
    "change", [{"use_dora": True}, {"peft_type": "IA3"}, {"base_model_name_or_path": ""}]
)
def test_what_is_no_plain_adapter_is_refused(
    adapter: tuple[Path, torch.Tensor], change: dict[str, object]
) -> None:
    folder, _ = adapter
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match="adapter_config"):
        open_model(folder)


def test_the_original_class_is_what_peft_wrapped(adapter: tuple[Path, torch.Tensor]) -> None:
    """The oracle must be the family's own, or the comparison says nothing."""
    assert isinstance(tools.llava(), LlavaForConditionalGeneration)
    assert adapter[1].abs().max() > 0
