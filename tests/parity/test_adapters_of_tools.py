"""Adapters as LLaMA-Factory, ms-swift and peft itself leave them open, and give what peft's model gives."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import qwen2_vl_tools as qwen
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlavaForConditionalGeneration, Qwen2VLForConditionalGeneration

from vidapt.errors import CheckpointError
from vidapt.hub import LoadReport, export_hf
from vidapt.loading import export_model, open_model
from vidapt.models.folder import save_model

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:peft"),
]

STILL = tools.film(1, 28, 28)

PROJECTIONS = "(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
LLAMA_FACTORY = rf"^(?!.*(?:multi_modal_projector|vision_tower|visual|patch_embed|merger)).*{PROJECTIONS}.*"
"""As its `patch_target_modules` writes it where the tower is frozen."""
SWIFT = r"^(model\.language_model(?=\.).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj))$"
SWIFT_ALL = (
    r"^(model\.language_model(?=\.).*\.(q_proj|v_proj|down_proj)"
    r"|model\.vision_tower(?=\.).*\.(q_proj|k_proj|out_proj|fc1)"
    r"|model\.multi_modal_projector(?=\.).*\.(linear_1|linear_2))$"
)
"""As its `get_multimodal_target_regex` writes it, with towers and aligner frozen and without."""

OLD = (
    ("base_model.model.model.language_model.", "base_model.model.language_model.model."),
    ("base_model.model.lm_head", "base_model.model.language_model.lm_head"),
    ("base_model.model.model.vision_tower.", "base_model.model.vision_tower.vision_model."),
    ("base_model.model.model.multi_modal_projector.", "base_model.model.multi_modal_projector."),
)
"""What trained before transformers 4.52 calls the same layers."""


Train = Callable[..., "Trained"]


@dataclass
class Trained:
    """A folder of adapters on a saved base, and the logits that peft's model gives of a still."""

    folder: Path
    expected: Tensor

    @property
    def base(self) -> Path:
        return self.folder.parent / "base"

    def reconfigure(self, **changes: Any) -> None:
        path = self.folder / CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    def rewrite(self, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        save_file(change(load_file(self.folder / WEIGHTS)), str(self.folder / WEIGHTS))


def still_logits(model: Any) -> Tensor:
    ids = tools.their_ids([tools.CELLS**2], tools.IMAGE)
    with torch.no_grad():
        return tools.at_after(model.eval()(input_ids=ids, pixel_values=tools.their_pixels(STILL)).logits)


def stir(model: Any) -> None:
    """Move everything that trains: far enough to show, not so far that rounding grows with the logits."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.2)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Puts what peft leaves of some training into a folder; it is carried out once."""
    made: dict[str, Trained] = {}

    def copied(folder: Path, **lora: Any) -> Trained:
        key = json.dumps(lora, sort_keys=True)
        if key not in made:
            made[key] = _train(tmp_path_factory.mktemp("trained"), **lora)
        shutil.copytree(made[key].folder.parent, folder, dirs_exist_ok=True)
        return Trained(folder / made[key].folder.name, made[key].expected)

    return copied


def _train(folder: Path, **lora: Any) -> Trained:
    """What peft leaves of some training of a LLaVA."""
    base = tools.llava()
    tools.save(base, folder / "base")
    model = get_peft_model(base, LoraConfig(**{"r": 2, "lora_alpha": 6, **lora}))
    stir(model)
    model.save_pretrained(folder / "adapter")
    again = LlavaForConditionalGeneration.from_pretrained(folder / "base")
    expected = still_logits(PeftModel.from_pretrained(again, folder / "adapter"))
    torch.testing.assert_close(still_logits(model), expected, atol=1e-5, rtol=0)
    found = Trained(folder / "adapter", expected)
    found.reconfigure(base_model_name_or_path="../base")
    return found


def compare(trained: Trained) -> Any:
    written = (trained.base / "model.safetensors").read_bytes()
    told: list[LoadReport] = []
    model, _ = open_model(trained.folder, tell=told.append)
    assert told[0].files[-1].startswith(f"{trained.folder}/adapter_model.")
    assert (trained.base / "model.safetensors").read_bytes() == written  # the base is mapped, and changed
    ours = tools.our_logits(model, [[STILL]])
    torch.testing.assert_close(ours, trained.expected, atol=tools.TOLERANCE, rtol=0)
    bare, _ = open_model(trained.base)
    assert (tools.our_logits(bare, [[STILL]]) - trained.expected).abs().max() > 100 * tools.TOLERANCE
    return model


CASES: dict[str, dict[str, Any]] = {
    "LLaMA-Factory": {"target_modules": LLAMA_FACTORY},
    "LLaMA-Factory, with whole modules": {
        "target_modules": LLAMA_FACTORY,
        "modules_to_save": ["embed_tokens", "lm_head"],
    },
    "ms-swift": {"target_modules": SWIFT},
    "ms-swift, nothing frozen": {"target_modules": SWIFT_ALL, "lora_dropout": 0.05},
    "ms-swift, the aligner whole": {"target_modules": SWIFT, "modules_to_save": ["multi_modal_projector"]},
    "all-linear": {"target_modules": "all-linear", "use_rslora": True},
    "biases": {"target_modules": "all-linear", "bias": "all"},
    "biases of adapted layers": {"target_modules": "all-linear", "bias": "lora_only"},
    "one block": {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1]},
    "all but some": {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*(vision|layers\.0).*"},
    "ranks and alphas": {
        "target_modules": SWIFT_ALL,
        "rank_pattern": {"q_proj": 3, "linear_1": 4},
        "alpha_pattern": {r"layers\.1\.mlp\.down_proj": 1, "q_proj": 5},
    },
    "ranks and alphas, stable": {
        "target_modules": SWIFT,
        "use_rslora": True,
        "rank_pattern": {"o_proj": 1},
        "alpha_pattern": {"q_proj": 5},
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
def test_what_a_tool_left_gives_what_peft_gives(
    train: Train, tmp_path: Path, case: dict[str, Any], *, old: bool
) -> None:
    trained = train(tmp_path, **case)
    if old:
        trained.rewrite(lambda state: {_old(key): tensor for key, tensor in state.items()})
        if isinstance(case["target_modules"], str):
            trained.reconfigure(target_modules=case["target_modules"].replace(r"model\.", ""))
    compare(trained)


@pytest.mark.parametrize("form", ["pickled", "with the adapter's name"])
def test_other_forms_of_the_file_are_read(train: Train, tmp_path: Path, form: str) -> None:
    trained = train(tmp_path, **CASES["LLaMA-Factory, with whole modules"])
    if form == "pickled":
        torch.save(load_file(trained.folder / WEIGHTS), trained.folder / PICKLED)
        (trained.folder / WEIGHTS).unlink()
    else:
        trained.rewrite(lambda state: {_with_name(key): tensor for key, tensor in state.items()})
    compare(trained)


def _old(key: str) -> str:
    for new, old in OLD:
        if key.startswith(new):
            return old + key.removeprefix(new)
    raise AssertionError(key)


def _with_name(key: str) -> str:
    """As a state dict in memory has it, which some tools save."""
    if ".lora_" not in key:
        return key.replace(".weight", ".modules_to_save.default.weight")
    return key.replace(".lora_A.", ".lora_A.default.").replace(".lora_B.", ".lora_B.default.")


def test_adapters_of_the_language_model_stay_adapters_and_others_become_weights(
    train: Train, tmp_path: Path
) -> None:
    trained = train(tmp_path, **CASES["ms-swift, nothing frozen"])
    model = compare(trained)
    lora = model.blueprint.adapters
    assert (lora.rank, lora.alpha, lora.dropout) == (2, 6, 0.05)
    assert lora.targets == ("down_proj", "q_proj", "v_proj")
    assert {name.partition(".")[0] for name, _ in model.named_parameters() if ".lora_" in name} == {
        "language"
    }


@pytest.mark.parametrize("case", ["one block", "ranks and alphas", "LLaMA-Factory, with whole modules"])
def test_a_model_with_adapters_of_a_tool_is_saved_and_exported(
    train: Train, tmp_path: Path, case: str
) -> None:
    trained = train(tmp_path, **CASES[case])
    model, tokenizer = open_model(trained.folder)
    save_model(tmp_path / "saved", model, tokenizer, {})
    reopened, _ = open_model(tmp_path / "saved")
    assert torch.equal(tools.our_logits(reopened, [[STILL]]), tools.our_logits(model, [[STILL]]))
    export_model(tmp_path / "saved", tmp_path / "merged", to="hf", dtype="float32")
    merged = LlavaForConditionalGeneration.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(still_logits(merged), trained.expected, atol=tools.TOLERANCE, rtol=0)


def expected_of_qwen(model: Any, ours: Any) -> Tensor:
    conversation = qwen.Theirs(model.eval(), ours, [qwen.VIDEO], tools.AFTER)
    return tools.at_after(conversation.logits())


@pytest.mark.parametrize(("tied", "old"), [(False, True), (True, False)], ids=["untied, old", "tied, new"])
@pytest.mark.parametrize(
    ("targets", "whole"),
    [
        (LLAMA_FACTORY, None),
        (r"^(model\.language_model(?=\.).*\.(q_proj|down_proj)|model\.visual\.merger(?=\.).*\.(0|2))$", None),
        (r"^(model\.visual(?=\.)(?!\.merger).*\.(qkv|proj|fc1|fc2))$", ["merger"]),
        (LLAMA_FACTORY, ["embed_tokens"]),
        (LLAMA_FACTORY, ["lm_head"]),
        (LLAMA_FACTORY, ["embed_tokens", "lm_head"]),
    ],
    ids=["LLaMA-Factory", "aligner", "tower", "table", "head", "table and head"],
)
def test_the_same_of_qwen2_vl(
    tmp_path: Path, targets: str, whole: list[str] | None, *, tied: bool, old: bool
) -> None:
    base = qwen.oracle_of(tie_word_embeddings=tied)
    qwen.save(base, tmp_path / "base")
    bare, _ = open_model(tmp_path / "base")
    before = expected_of_qwen(base, bare)
    model = get_peft_model(base, LoraConfig(r=2, target_modules=targets, modules_to_save=whole))
    stir(model)
    model.save_pretrained(tmp_path / "adapter")
    again = Qwen2VLForConditionalGeneration.from_pretrained(tmp_path / "base")
    theirs = expected_of_qwen(PeftModel.from_pretrained(again, tmp_path / "adapter"), bare)
    assert (theirs - before).abs().max() > 100 * tools.TOLERANCE
    trained = Trained(tmp_path / "adapter", theirs)
    trained.reconfigure(base_model_name_or_path="../base", target_modules=targets)
    if old:
        names = (("model.language_model.", "model."), ("model.visual.", "visual."))
        trained.rewrite(lambda state: {_renamed(key, names): tensor for key, tensor in state.items()})
        trained.reconfigure(
            target_modules=targets.replace(r"model\.language_model", "model").replace(r"model\.vis", "vis")
        )
    ours, tokenizer = open_model(tmp_path / "adapter")
    logits = tools.our_logits(ours, [[qwen.VIDEO]])
    torch.testing.assert_close(logits, theirs, atol=tools.TOLERANCE, rtol=0)
    save_model(tmp_path / "saved", ours, tokenizer, {})
    reopened, _ = open_model(tmp_path / "saved")
    assert torch.equal(tools.our_logits(reopened, [[qwen.VIDEO]]), logits)
    export_hf(tmp_path / "exported", reopened, tokenizer)
    exported, _ = open_model(tmp_path / "exported")
    back = tools.our_logits(exported, [[qwen.VIDEO]])
    torch.testing.assert_close(back, theirs, atol=tools.TOLERANCE, rtol=0)


def _renamed(key: str, names: tuple[tuple[str, str], ...]) -> str:
    for new, old in names:
        if key.startswith(f"base_model.model.{new}"):
            return f"base_model.model.{old}" + key.removeprefix(f"base_model.model.{new}")
    return key


BASE = "base_model.model."
LAYERS = f"{BASE}model.language_model."
Q = f"{LAYERS}layers.0.self_attn.q_proj"


def without(start: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {key: tensor for key, tensor in state.items() if not key.startswith(start)}


def adding(key: str, *shape: int, **options: Any) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: state | {key: torch.ones(shape, **options)}


def adapting(layer: str, a: list[int], b: list[int]) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    more = {f"{layer}.lora_A.weight": torch.ones(a), f"{layer}.lora_B.weight": torch.ones(b)}
    return lambda state: state | more


PATCHES = f"{BASE}model.vision_tower.embeddings.patch_embedding"
MISFITS: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "layer lost": (without(Q), r"language\.model\.layers\.0\.self_attn\.q_proj\.lora_A \[2, 32\]"),
    "side lost": (without(f"{Q}.lora_B"), r"layers\.0\.self_attn\.q_proj' has lora_A alone"),
    "empty": (without(""), "holds no adapters"),
    "DoRA": (adding(f"{Q}.lora_magnitude_vector", 32), r"lora_magnitude_vector' is no adapter's weight"),
    "words": (adding(f"{BASE}lm_head.lora_embedding_A", 2, 64), r"lora_embedding_A' is no adapter's weight"),
    "bias": (adding(f"{Q}.lora_B.bias", 32), r"lora_B\.bias' is no adapter's weight"),
    "more words": (
        adding(f"{BASE}lm_head.weight", 70, 32),
        r"language\.lm_head\.weight: expected \[64, 32\], found \[70, 32\]",
    ),
    "another part": (
        adding(f"{BASE}audio.weight", 2),
        r"(?s)belong to no part of a llava model.*audio\.weight",
    ),
    "no layer": (
        adapting(f"{LAYERS}embed_tokens", [2, 32], [64, 2]),
        r"(?s)have no place in the model.*embed_tokens\.lora_A",
    ),
    "another kernel": (
        adapting(PATCHES, [2, 3, 7, 7], [16, 2, 3, 3]),
        r"patch_embedding\.lora_A\.weight \[2, 3, 7, 7\] .* are not of rank 2",
    ),
    "integers": (
        adding(f"{Q}.lora_A.weight", 2, 32, dtype=torch.int8),
        r"q_proj\.lora_A\.weight' holds torch\.int8",
    ),
}


@pytest.mark.parametrize(("change", "found"), MISFITS.values(), ids=MISFITS.keys())
def test_what_does_not_fit_is_named(
    train: Train, tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], found: str
) -> None:
    trained = train(tmp_path, target_modules=SWIFT)
    trained.rewrite(change)
    with pytest.raises(CheckpointError, match=found):
        open_model(trained.folder)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights: 'pissa_niter_16'"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
        ({"modules_to_save": ["lm_head"]}, "holds nothing of lm_head"),
        ({"target_modules": "(q_proj"}, "describes no adapters"),
        ({"rank_pattern": {"q_proj": 5}}, "are not of rank 5"),
        ({"rank_pattern": ["q_proj"]}, "describes no adapters"),
        ({"r": 3}, "are not of rank 3"),
        ({"lora_alpha": -1}, "describes no adapters"),
        ({"lora_dropout": 2}, "describes no adapters"),
    ],
    ids=str,
)
def test_settings_that_say_something_else_are_named(
    train: Train, tmp_path: Path, change: dict[str, Any], found: str
) -> None:
    trained = train(tmp_path, target_modules=SWIFT)
    trained.reconfigure(**change)
    with pytest.raises(CheckpointError, match=found):
        open_model(trained.folder)


def test_adapters_on_a_head_that_is_also_the_table_are_refused(tmp_path: Path) -> None:
    base = qwen.oracle_of(tie_word_embeddings=True)
    qwen.save(base, tmp_path / "base")
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["lm_head", "q_proj"]))
    model.save_pretrained(tmp_path / "adapter")
    trained = Trained(tmp_path / "adapter", torch.zeros(0))
    trained.reconfigure(base_model_name_or_path="../base")
    trained.rewrite(lambda state: {key: t for key, t in state.items() if ".lora_" in key})
    with pytest.raises(CheckpointError, match=r"adapts lm_head, whose weight is that of the word embeddings"):
        open_model(trained.folder)


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (eval, ("1 + 1",))


def test_a_pickle_that_would_run_code_is_refused(train: Train, tmp_path: Path) -> None:
    trained = train(tmp_path, target_modules=SWIFT)
    (trained.folder / WEIGHTS).unlink()
    (trained.folder / PICKLED).write_bytes(pickle.dumps({"x": Evil()}))
    with pytest.raises(CheckpointError, match=r"adapter_model\.bin: holds more than weights"):
        open_model(trained.folder)
