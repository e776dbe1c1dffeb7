"""What `export` writes opens where its original does, and here as the same model: each family and layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import hilight_tools
import internvl_tools
import llava_video_tools
import minicpm_tools
import minicpm_v_reference
import parity_tools as tools
import pllava_tools
import published_tools as published
import pytest
import qwen2_vl_tools
import qwen_tools
import smolvlm_tools
import test_ferret_v2
import test_mini_gemini
import test_parity_pllava
import torch
from safetensors.torch import load_file
from test_authors_folders import MISTRAL, QWEN
from test_hub_layouts import hub_2024, in_memory, rewrite
from torch import Tensor
from transformers import AutoConfig, AutoModelForImageTextToText

from vidapt.hub import open_checkpoint
from vidapt.loading import export_model, open_model
from vidapt.models.folder import save_model
from vidapt.models.lora import add_adapters
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import LoRA

Make = Callable[[Path], object]
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False, "num_hidden_layers": 2}
LLAMA = (
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant\n' }}{% endif %}"
)
PHI = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<|user|>\n' + message['content'] + '<|end|>\n<|assistant|>\n' }}{% else %}"
    "{{ message['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
)
INSTRUCT = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def hub(model: Callable[[], Any], processor: Callable[[], Any] | None = None) -> Make:
    def make(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        tools.save(model(), folder)
        if processor is not None:
            processor().save_pretrained(folder)

    return make


def layout(make: Make, name: Callable[[str], str]) -> Make:
    def made(folder: Path) -> None:
        make(folder.with_name("fresh"))
        rewrite(folder.with_name("fresh"), folder, name, {})

    return made


def authors(changes: dict[str, Any], *without: str, **how: Any) -> Make:
    def make(folder: Path) -> None:
        if "tower" in how:  # only its own folder tells what a SigLIP is
            name = Path(changes["mm_vision_tower"]).name
            (folder / name).mkdir(parents=True)
            told = {**how["tower"], "num_hidden_layers": 3}
            del told["vision_use_head"]
            (folder / name / "config.json").write_text(json.dumps(told))
        published.authors_folder(folder, published.pieces(), changes, **how)
        config = json.loads((folder / "config.json").read_text())
        kept = {name: value for name, value in config.items() if name not in without}
        (folder / "config.json").write_text(json.dumps(kept))

    return make


def llava_with(kind: str, bos: str | None, eos: str, marks: tuple[str, ...], template: str) -> Make:
    """Another language model in LLaVA's class, with its own tokenizer and the chat template of its kind."""

    def make(folder: Path) -> None:
        tokenizer = published.byte_tokenizer(bos, eos, (*marks, "<image>"))
        tokenizer.chat_template = template
        text = {**tools.text_config().to_dict(), "model_type": kind, "vocab_size": len(tokenizer)}
        known = AutoConfig.for_model(kind).to_dict()
        sizes = {name: value for name, value in text.items() if name in known}
        sizes |= {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
        sizes |= {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}
        image = tokenizer.convert_tokens_to_ids("<image>")
        tools.save(tools.llava(text_config={**sizes, "model_type": kind}, image_token_index=image), folder)
        tokenizer.save_pretrained(folder)

    return make


def one_pickle(folder: Path) -> None:
    state = published.authors_folder(folder, published.pieces(), pickled=False)
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")


def pllava(folder: Path) -> None:
    folder.mkdir()
    theirs = tools.llava()
    base = "llava-hf/llava-v1.6-vicuna-7b-hf"
    told = pllava_tools.configuration((3, 2, 3), 6, pllava_tools.VICUNA, base, 32000)
    (folder / "config.json").write_text(json.dumps(told))
    pllava_tools.add_processor(folder)
    layers = theirs.model.language_model.named_modules()
    draw = {
        name: (torch.randn(4, layer.in_features) * 0.2, torch.randn(layer.out_features, 4) * 0.2)
        for name, layer in layers
        if name.rpartition(".")[2] in ("q_proj", "v_proj")
    }
    pllava_tools.write_shards(folder, test_parity_pllava.wrapped(theirs, draw))


def qwen(family: str, **changes: Any) -> Make:
    return lambda folder: qwen_tools.save(family, qwen_tools.oracle_of(family, **changes), folder)


def mixture(family: str) -> Make:
    return lambda folder: qwen_tools.save(family, qwen_tools.mixture_of(family), folder)


def hilight(folder: Path) -> None:
    folder.mkdir()
    hilight_tools.Original().write(folder)


SEEN = {**QWEN, **published.ANYRES, "mm_vision_tower": "/mnt/somebody/siglip-tiny"}
SEEN_ONLY = {"tower": {**published.tower_sizes(), **SIGLIP}, "pickled": False}

MODELS: dict[str, tuple[Make, bool]] = {
    "llava, transformers 5": (hub(tools.llava), True),
    "llava, hub of 2024": (layout(hub(tools.llava), hub_2024), True),
    "llava, in memory": (layout(hub(tools.llava), in_memory), True),
    "llava, authors": (authors({}), False),
    "llava, authors, safetensors": (authors({}, pickled=False), False),
    "llava, authors, one pickle": (one_pickle, False),
    "llava, Llama 3": (
        llava_with("llama", "<|begin_of_text|>", "<|eot_id|>", ("<|start_header_id|>",), LLAMA),
        True,
    ),
    "llava, Phi-3": (llava_with("phi3", "<s>", "<|end|>", ("<|user|>", "<|assistant|>"), PHI), True),
    "llava, Mistral": (llava_with("mistral", "<s>", "</s>", (), INSTRUCT), True),
    "llava_next": (hub(anyres.next_model, anyres.next_processor), True),
    "llava_next, authors": (authors(dict(published.ANYRES), newline=True), False),
    "llava_next, authors, Mistral": (
        authors({**published.ANYRES, **MISTRAL}, "mm_spatial_pool_mode", newline=True),
        False,
    ),
    "llava_next_video": (hub(anyres.next_video_model, anyres.next_processor), True),
    "llava_next_video, authors, Mistral": (authors({**published.ANYRES, **MISTRAL}, newline=True), False),
    "llava_onevision": (hub(anyres.onevision_model, anyres.onevision_processor), True),
    "llava_onevision, authors": (
        authors({**SEEN, "image_aspect_ratio": "anyres_max_9"}, newline=True, **SEEN_ONLY),
        False,
    ),
    "llava_interleave": (hub(anyres.interleave_model, anyres.siglip_processor), True),
    "llava_interleave, authors": (
        authors({**SEEN, "image_aspect_ratio": "pad", "mm_patch_merge_type": "flat"}, **SEEN_ONLY),
        False,
    ),
    "pllava": (pllava, False),
    "qwen2_vl": (lambda folder: qwen2_vl_tools.save(qwen2_vl_tools.oracle_of(), folder), True),
    "qwen2_5_vl": (qwen("qwen2_5_vl"), True),
    "qwen3_vl": (qwen("qwen3_vl", tie_word_embeddings=True), True),
    "qwen3_5": (qwen("qwen3_5"), True),
    "qwen3_vl, mixture": (mixture("qwen3_vl"), True),
    "qwen3_5, mixture": (mixture("qwen3_5"), True),
    "minicpm_v": (minicpm_v_reference.write, False),
    "minicpm_v_4_5": (lambda folder: minicpm_v_reference.write(folder, 4.5), False),
    "minicpm_v_4_6": (lambda folder: minicpm_tools.save(minicpm_tools.oracle_of(), folder), True),
    "minicpm_v_4_7": (lambda folder: minicpm_tools.save(minicpm_tools.oracle_of(4.7), folder), True),
    "internvl": (lambda folder: internvl_tools.save(internvl_tools.oracle_of(), folder), True),
    "internvl, Qwen3": (lambda folder: internvl_tools.save(internvl_tools.oracle_of("qwen3"), folder), True),
    "internvl, authors": (
        lambda folder: internvl_tools.save_authors(internvl_tools.oracle_of(), folder),
        False,
    ),
    "smolvlm": (lambda folder: smolvlm_tools.save(smolvlm_tools.oracle_of(), folder), True),
    "llava_video": (lambda folder: llava_video_tools.save(llava_video_tools.oracle_of(), folder), False),
    "mini_gemini": (
        lambda folder: test_mini_gemini.write(test_mini_gemini.Original(), folder, "plain"),
        False,
    ),
    "ferret_v2": (lambda folder: test_ferret_v2.write(test_ferret_v2.Original(), folder), False),
    "hilight": (hilight, False),
}
"""How each folder is made, and whether its names are transformers', which become the hub's of 2024."""


@pytest.fixture(scope="module")
def published_as(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Path], Path]:
    """Puts a published folder beside what a test writes; each is made once."""
    made: dict[str, Path] = {}

    def copied(name: str, beside: Path) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("made") / "published"
            MODELS[name][0](made[name])
        return Path(shutil.copytree(made[name], beside / "published"))

    return copied


@pytest.fixture(params=MODELS)
def folder(request: pytest.FixtureRequest, published_as: Callable[[str, Path], Path], tmp_path: Path) -> Path:
    return published_as(request.param, tmp_path)


def weights(folder: Path) -> dict[str, Tensor]:
    if (folder / "model.safetensors").exists():
        return load_file(folder / "model.safetensors")
    shards = [*folder.glob("pytorch_model*.bin"), *folder.glob("model-*.safetensors")]
    read = {".bin": partial(torch.load, weights_only=True), ".safetensors": load_file}
    return {k: v for shard in shards for k, v in read[shard.suffix](shard).items()}


def adapted(model: VideoLM) -> None:
    """As a stage leaves it: connector and low-rank adapters trained."""
    if model.blueprint.adapters is None:
        lora = LoRA(rank=2, alpha=4)
        add_adapters(model.language, lora)
        model.blueprint = model.blueprint.model_copy(update={"adapters": lora})
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or name.startswith("connector."):
                weight.add_(torch.randn_like(weight) * 0.1)


def clips(model: VideoLM) -> list[Tensor]:
    frames = 12 if "token_mining" in str(model.blueprint.connector["kind"]) else 1
    return [tools.film(frames, 60, 80)]


def logits(model: VideoLM, tokenizer: Any) -> Tensor:
    return tools.our_logits(model, [clips(model)], tokenizer)


def test_an_adapted_model_comes_back(folder: Path, tmp_path: Path) -> None:
    model, tokenizer, _ = open_checkpoint(folder)
    before = logits(model, tokenizer)
    adapted(model)
    expected = logits(model, tokenizer)
    assert (expected - before).abs().max() > 10 * tools.TOLERANCE
    save_model(tmp_path / "stage", model, tokenizer, {})
    export_model(tmp_path / "stage", tmp_path / "out", to="hf", dtype="float32")
    back, words, report = open_checkpoint(tmp_path / "out")
    again, _, first = open_checkpoint(folder)
    assert back.blueprint == again.blueprint
    assert report.prompt == first.prompt
    assert report.family == first.family
    torch.testing.assert_close(logits(back, words), expected, atol=tools.TOLERANCE, rtol=0)
    for text in ("USER: hi", "  two", "红球 🎱", " w7 w9"):
        assert words(text).input_ids == tokenizer(text).input_ids


def test_files_are_those_that_were_published(
    folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    model, tokenizer, report = open_checkpoint(folder)
    save_model(tmp_path / "stage", model, tokenizer, {})
    export_model(tmp_path / "stage", tmp_path / "out", to="hf", dtype="float32")
    renamed = MODELS[request.node.callspec.params["folder"]][1]
    held, written = weights(folder), weights(tmp_path / "out")
    if not renamed:
        beside = [key for key in report.names if ":" in key]  # towers that lay beside the weights
        assert set(written) - set(held) == set() or beside
        assert set(held) - set(written) <= set(report.ignored)
        assert all(torch.equal(tensor, held[key]) for key, tensor in written.items() if key in held)
    for path in folder.iterdir():
        if path.suffix in (".json", ".jinja", ".model") and "index" not in path.name:
            name = path.name
            if name != "tokenizer.json":
                assert (tmp_path / "out" / name).read_bytes() == path.read_bytes(), name
    written_too = (tmp_path / "out" / "chat_template.jinja").exists()
    assert written_too == (folder / "chat_template.jinja").exists()


@pytest.mark.parametrize("name", [name for name, (_, renamed) in MODELS.items() if renamed])
def test_transformers_opens_what_is_written(
    name: str, published_as: Callable[[str, Path], Path], tmp_path: Path
) -> None:
    published_as(name, tmp_path)
    export_model(tmp_path / "published", tmp_path / "out", to="hf", dtype="float32")
    _, info = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    expected, _ = open_model(tmp_path / "published")
    found = open_checkpoint(tmp_path / "out")[0]
    state = expected.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in found.state_dict().items())


def test_a_template_beside_another_does_not_change_places(tmp_path: Path) -> None:
    """A tokenizer writes its own template into a file that goes before the tokenizer's settings."""
    folder = tmp_path / "published"
    folder.mkdir()
    hub(tools.llava)(folder)
    told = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(told | {"chat_template": TEMPLATE}))
    export_model(folder, tmp_path / "out", to="hf", dtype="float32")
    assert not (tmp_path / "out" / "chat_template.jinja").exists()
    first, second = open_checkpoint(folder)[2], open_checkpoint(tmp_path / "out")[2]
    assert first.prompt == second.prompt


def test_towers_of_other_sizes_are_described_beside_the_weights(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    authors({**SEEN, "image_aspect_ratio": "anyres_max_9"}, newline=True, **SEEN_ONLY)(folder)
    export_model(folder, tmp_path / "out", to="hf", dtype="float32")
    told = json.loads((tmp_path / "out" / "siglip-tiny" / "config.json").read_text())
    assert told["num_hidden_layers"] == 3
    assert "vision_use_head" not in told
