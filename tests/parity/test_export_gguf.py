"""GGUF files of exports: transformers reads the language model back, and what sees is there, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import internvl_tools as internvl
import numpy as np
import parity_tools as tools
import pytest
import qwen_tools as qwen
import smolvlm_tools as smolvlm
import torch
import training_tools
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.hub import _gguf_words, open_checkpoint
from vidapt.models.video_lm import VideoLM

gguf = pytest.importorskip("gguf")


def _llava(folder: Path) -> Path:
    """With words of bytes, as llama.cpp knows them."""
    tools.save(tools.llava(text_config=tools.text_config(vocab_size=320)), folder)
    training_tools.tokenizer().save_pretrained(folder)
    return folder


def _of_pieces(folder: Path) -> Path:
    """With a tokenizer like SentencePiece's."""
    tools.save(tools.llava(text_config=tools.text_config(vocab_size=320)), folder)
    letters = "▁abcdefghijklmnopqrstuvwxyzIT'."
    marks = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *letters,
        "▁t",
        "he",
        "▁the",
    ]
    vocabulary = {word: index for index, word in enumerate(marks)}
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    spoken = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spoken.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    spoken.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    PreTrainedTokenizerFast(
        tokenizer_object=spoken, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return folder


SAVED: dict[str, Callable[[Path], Path]] = {
    "llava": _llava,
    "llava-pieces": _of_pieces,
    "internvl": lambda folder: internvl.save(internvl.oracle_of(), folder),
    "internvl-qwen3": lambda folder: internvl.save(internvl.oracle_of("qwen3"), folder),
    "smolvlm": lambda folder: smolvlm.save(smolvlm.oracle_of(), folder),
}
IDS = [7, 8, 9, 10, 11, 12, 13]
FAR = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.4}
"""Largest difference of logits, in their standard deviations."""


def export(published: Path, out: Path, *args: str) -> Any:
    return CliRunner().invoke(app, ["export", str(published), "--out", str(out), "--to", "gguf", *args])


@torch.no_grad()
def logits(model: VideoLM) -> torch.Tensor:
    return model.logits(IDS)


def read_back(file: Path) -> tuple[torch.Tensor, Any]:
    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    # transformers takes every Qwen3 to have heads of 128.
    config.head_dim = int(
        gguf.GGUFReader(file).fields[f"{config.model_type}.attention.key_length"].contents()
    )
    language = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, config=config).eval()
    with torch.no_grad():
        return language(input_ids=torch.tensor([IDS])).logits[0], language


@pytest.mark.parametrize("family", SAVED)
def test_transformers_reads_the_language_model_back(family: str, tmp_path: Path) -> None:
    published = SAVED[family](tmp_path / "published")
    done = export(published, tmp_path / "out", "--dtype", "float32", "--json")
    assert done.exit_code == 0, done.output
    remarks = json.loads(done.stdout)["remarks"]
    assert bool(remarks) == (not family.startswith("llava"))
    model, tokenizer, _ = open_checkpoint(published)
    found, _ = read_back(tmp_path / "out" / "model-f32.gguf")
    wanted = logits(model)
    assert (found - wanted).abs().max() < FAR["float32"] * wanted.std()
    again = AutoTokenizer.from_pretrained(tmp_path / "out", gguf_file="model-f32.gguf")
    for text in ("what is it? 12 red balls", "it's\n\nThe player's shot. ä"):
        one, other = (each(text, add_special_tokens=False).input_ids for each in (again, tokenizer))
        assert one == other


@pytest.mark.parametrize(("args", "name"), [
    (("--dtype", "float16"), "f16"), (("--dtype", "bfloat16"), "bf16"), (("--weights", "q8_0"), "q8_0")
])  # fmt: skip
def test_formats_round_as_far_as_they_are_coarse(args: tuple[str, ...], name: str, tmp_path: Path) -> None:
    published = SAVED["llava"](tmp_path / "published")
    done = export(published, tmp_path / "out", *args)
    assert done.exit_code == 0, done.output
    wanted = logits(open_checkpoint(published)[0])
    found, _ = read_back(tmp_path / "out" / f"model-{name}.gguf")
    assert (
        0 < (found - wanted).abs().max() < FAR[args[1] if args[0] == "--dtype" else "bfloat16"] * wanted.std()
    )


def test_what_sees_is_llava_up_to_the_layer_that_is_read(tmp_path: Path) -> None:
    published = SAVED["llava"](tmp_path / "published")
    assert export(published, tmp_path / "out", "--dtype", "float32").exit_code == 0
    model = open_checkpoint(published)[0]
    reader = gguf.GGUFReader(tmp_path / "out" / "mmproj-f32.gguf")
    held = {one.name: np.array(one.data) for one in reader.tensors}
    net = model.tower.net
    pairs = {
        "v.class_embd": net.embeddings.class_embedding,
        "v.patch_embd.weight": net.embeddings.patch_embedding.weight,
        "v.position_embd.weight": net.embeddings.position_embedding.weight,
        "v.pre_ln.weight": net.pre_layrnorm.weight,
        "v.pre_ln.bias": net.pre_layrnorm.bias,
        **{f"mm.0.{kind}": weight for kind, weight in model.connector.mlp[0].named_parameters()},
        **{f"mm.2.{kind}": weight for kind, weight in model.connector.mlp[2].named_parameters()},
    }
    inside = {
        "ln1": "layer_norm1", "ln2": "layer_norm2", "ffn_up": "mlp.fc1", "ffn_down": "mlp.fc2",
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_out": "self_attn.out_proj",
    }  # fmt: skip
    for layer in range(model.tower.depth):
        for theirs, ours in inside.items():
            module = net.encoder.layers[layer].get_submodule(ours)
            pairs |= {f"v.blk.{layer}.{theirs}.{kind}": getattr(module, kind) for kind in ("weight", "bias")}
    assert held.keys() == pairs.keys()
    for name, weight in pairs.items():
        assert np.array_equal(held[name].reshape(weight.shape), weight.detach().numpy()), name
    told = {name: field.contents() for name, field in reader.fields.items()}
    assert told["clip.projector_type"] == "mlp"
    assert told["clip.vision.block_count"] == model.tower.depth == len(net.encoder.layers) - 1
    assert told["clip.vision.image_size"] == tools.SIDE


def test_what_llama_cpp_cannot_read_is_refused(tmp_path: Path) -> None:
    published = qwen.save("qwen3_vl", qwen.oracle_of("qwen3_vl"), tmp_path / "qwen")
    done = export(published, tmp_path / "out")
    assert done.exit_code == 2
    assert "qwen3_vl_text" in done.output
    assert "convert_hf_to_gguf.py" in done.output
    llava = SAVED["llava"](tmp_path / "published")
    done = export(llava, tmp_path / "out", "--weights", "int8")
    assert done.exit_code == 2
    assert "no format of GGUF" in done.output
    assert not (tmp_path / "out").exists()


def test_tokenizers_are_named_by_how_they_split() -> None:
    split = _gguf_words._split
    plain = {"type": "ByteLevel", "use_regex": True}
    assert split({"pre_tokenizer": plain}) == "gpt-2"
    digits = {"type": "Digits", "individual_digits": True}
    assert split({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, plain]}}) == "smollm"
    for expression, name in _gguf_words._BY_EXPRESSION.items():
        step = {"type": "Split", "pattern": {"Regex": expression}}
        after = {"type": "ByteLevel", "use_regex": False}
        assert split({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [step, after]}}) == name
    with pytest.raises(Exception, match="may split texts otherwise"):
        split({"pre_tokenizer": {"type": "Whitespace"}})
