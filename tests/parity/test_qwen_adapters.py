"""Adapters that peft trained on Qwen2.5-VL, Qwen3-VL and Qwen3.5 give what peft's model gives."""

from __future__ import annotations

from pathlib import Path

import parity_tools as tools
import pytest
import qwen_tools as qwen
import torch
from peft import LoraConfig, get_peft_model

from vidapt.loading import open_model

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is_gradient_checkpointing:FutureWarning"
)  # peft asks for it

TARGETS = {
    "qwen2_5_vl": ["q_proj", "v_proj", "qkv", "gate_proj"],
    "qwen3_vl": ["q_proj", "v_proj", "qkv", "linear_fc1", "linear_fc2"],
    "qwen3_5": ["q_proj", "in_proj_qkv", "in_proj_z", "out_proj", "qkv", "linear_fc1"],
}
"""Of language model, tower and mergers."""


@pytest.mark.parametrize("family", qwen.MAKERS)
def test_adapters_give_what_peft_gives(family: str, tmp_path: Path) -> None:
    base = qwen.oracle_of(family)
    qwen.save(family, base, tmp_path / "base")
    base.config._name_or_path = base.name_or_path = str(tmp_path / "base")
    model = get_peft_model(base, LoraConfig(r=2, lora_alpha=6, target_modules=TARGETS[family]))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path / "adapter")
    ours, _ = open_model(tmp_path / "adapter")
    plain, _ = open_model(tmp_path / "base")
    rows = [[qwen.STILL]]
    theirs = qwen.expected(family, model.eval().base_model.model, ours, rows)
    torch.testing.assert_close(qwen.ours(ours, rows), theirs, atol=tools.TOLERANCE, rtol=0)
    assert (qwen.ours(plain, rows) - theirs).abs().max() > 100 * tools.TOLERANCE
