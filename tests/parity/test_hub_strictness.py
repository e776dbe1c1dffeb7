"""A checkpoint opens completely or not at all, and the error names what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vidapt import hub
from vidapt.errors import CheckpointError
from vidapt.hub import open_checkpoint
from vidapt.hub._open import parameters_on_meta
from vidapt.recipe import Blueprint

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
BIAS = "multi_modal_projector.linear_1.bias"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tools.save(tools.llava(), tmp_path_factory.mktemp("sound"))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(sound, tmp_path / "checkpoint"))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return tools.save(tools.llava(), tmp_path / "shards", max_shard_size="30KB")


def respell(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, folder / WEIGHTS)


def reconfigure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def message(folder: Path, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder, **options)
    assert caught.value.remedy
    return str(caught.value)


def test_a_missing_tensor_is_named_with_its_shape(folder: Path) -> None:
    respell(folder, lambda state: state.pop(BIAS))
    text = message(folder)
    assert "1 tensor(s) are missing" in text
    assert "connector.mlp.0.bias [32]" in text


def test_a_tensor_of_no_family_is_named(folder: Path) -> None:
    respell(folder, lambda state: state.update({"audio_tower.weight": torch.zeros(2)}))
    assert "audio_tower.weight" in message(folder)


def test_a_layer_too_many_is_named_with_its_file(folder: Path) -> None:
    key = "language_model.model.layers.7.input_layernorm.weight"
    respell(folder, lambda state: state.update({key: torch.zeros(32)}))
    text = message(folder)
    assert "have no place in the model" in text
    assert f"{key} in {WEIGHTS}" in text


def test_a_wrong_shape_is_named_with_both_shapes(folder: Path) -> None:
    respell(folder, lambda state: state.update({BIAS: torch.zeros(33)}))
    text = message(folder)
    assert "connector.mlp.0.bias: expected [32], found [33]" in text
    assert f"{BIAS} in {WEIGHTS}" in text


def test_all_mismatches_are_told_at_once(folder: Path) -> None:
    def spoil(state: dict[str, Tensor]) -> None:
        del state["language_model.model.norm.weight"]
        state[BIAS] = torch.zeros(1)
        state["vision_tower.encoder.layers.9.layer_norm1.bias"] = torch.zeros(16)

    respell(folder, spoil)
    text = message(folder)
    for part in ("are missing", "have no place", "have the wrong shape"):
        assert part in text


def test_two_layouts_in_one_file_are_refused(folder: Path) -> None:
    respell(folder, lambda state: state.update({f"model.{BIAS}": state[BIAS].clone()}))
    text = message(folder)
    assert BIAS in text
    assert f"model.{BIAS}" in text


def test_many_missing_tensors_are_counted_not_listed(folder: Path) -> None:
    respell(folder, lambda state: [state.pop(key) for key in list(state) if key.startswith("vision_tower.")])
    text = message(folder)
    assert "more" in text
    assert len(text.splitlines()) < 20


def test_tied_embeddings_that_differ_are_refused(tmp_path: Path) -> None:
    tools.save(tools.llava(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    reconfigure(tmp_path, text_config={**config["text_config"], "tie_word_embeddings": True})
    assert "are one tensor in the config but differ" in message(tmp_path)


@pytest.mark.parametrize("cut", [5, 0.5, 0.99])
def test_a_truncated_file_is_named(folder: Path, cut: float) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: int(cut if cut > 1 else cut * len(data))])
    text = message(folder)
    assert WEIGHTS in text
    assert "truncated" in text


def test_a_missing_shard_is_named(shards: Path) -> None:
    victim = sorted(shards.glob("model-*.safetensors"))[1]
    victim.unlink()
    text = message(shards)
    assert victim.name in text
    assert "missing" in text


def test_an_index_that_disagrees_with_its_shards_is_refused(shards: Path) -> None:
    index = json.loads((shards / INDEX).read_text())
    files = sorted(set(index["weight_map"].values()))
    index["weight_map"][BIAS] = next(file for file in files if file != index["weight_map"][BIAS])
    (shards / INDEX).write_text(json.dumps(index))
    assert BIAS in message(shards)


@pytest.mark.parametrize("file", ["../secret.safetensors", "/etc/passwd", "pytorch_model.bin", 3])
def test_an_index_cannot_reach_outside_its_folder(shards: Path, file: Any) -> None:
    index = json.loads((shards / INDEX).read_text())
    index["weight_map"][BIAS] = file
    (shards / INDEX).write_text(json.dumps(index))
    assert repr(file) in message(shards)


def test_a_tensor_in_two_shards_is_refused(shards: Path) -> None:
    first, second = sorted(shards.glob("model-*.safetensors"))[:2]
    key, tensor = next(iter(load_file(first).items()))
    save_file({**load_file(second), key: tensor}, second)
    text = message(shards)
    assert first.name in text
    assert second.name in text


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickled_weights_are_refused_unopened(folder: Path, name: str) -> None:
    (folder / WEIGHTS).unlink()
    (folder / name).write_bytes(b"not even a pickle")
    assert name in message(folder)


def test_a_pickle_that_would_run_code_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    ran = tmp_path / "ran"

    class Runs:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(ran),)

    torch.save({"model.embed_tokens.weight": torch.zeros(2, 2), "more": Runs()}, folder / "pytorch_model.bin")
    text = message(folder)
    assert "pytorch_model.bin" in text
    assert "could run code" in text
    assert not ran.exists()


def test_a_folder_without_weights_says_what_is_needed(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    assert WEIGHTS in message(folder)


def test_quantised_weights_are_refused(folder: Path) -> None:
    respell(folder, lambda state: state.update({BIAS: torch.zeros(32, dtype=torch.int8)}))
    text = message(folder)
    assert BIAS in text
    assert "I8" in text


@pytest.mark.parametrize(
    "content", [None, "{", "[1]", pytest.param("[" * 200_000, id="deep"), '{"model_type": "lava"}', "{}"]
)
def test_a_config_that_cannot_be_used_is_named(folder: Path, content: str | None) -> None:
    path = folder / "config.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert "config.json" in message(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "llava_next"},
        {"model_type": "llava-next-video"},
        {"architectures": ["LlavaForConditionalGenerationV2"]},
        {"architectures": 5},
        {"text_config": "llama"},
        {"vision_config": [1]},
        {"vision_feature_layer": [-2, -5]},
        {"vision_feature_select_strategy": "full"},
        {"projector_hidden_act": "relu"},
        {"text_config": {"model_type": "gpt2"}},
        {"vision_config": None},
    ],
    ids=str,
)
def test_a_setting_vidapt_has_no_part_for_is_refused(folder: Path, change: dict[str, Any]) -> None:
    reconfigure(folder, **change)
    assert "config.json" in message(folder)


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("vision_config", {"hidden_size": "wide"}),
        ("vision_config", {"num_attention_heads": 3}),
        ("vision_config", {"num_hidden_layers": 0}),
        ("text_config", {"num_attention_heads": 5}),
        ("text_config", {"hidden_size": -1}),
        ("text_config", {"vocab_size": None}),
    ],
    ids=str,
)
def test_a_config_of_an_impossible_model_is_named(folder: Path, section: str, change: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    reconfigure(folder, **{section: {**config[section], **change}})
    assert "config.json" in message(folder)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"do_pad": True}, "pad"),
        ({"do_center_crop": False, "resample": 2}, "whole"),
        ({"size": {"shortest_edge": 56}}, None),
        ({"resample": 1}, None),
    ],
    ids=str,
)
def test_processor_settings_become_a_resolution_or_an_error(
    folder: Path, change: dict[str, Any], kind: str | None
) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    if kind is None:
        assert path.name in message(folder)
        return
    model, _, _ = open_checkpoint(folder)
    assert model.blueprint.resolution["kind"] == kind
    if kind == "whole":
        assert model.blueprint.resolution == {"kind": "whole", "fit": "squash", "filter": "bilinear"}


def test_a_missing_tokenizer_is_named(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "tokenizer" in message(folder)


def test_the_report_accounts_for_every_tensor(sound: Path) -> None:
    model, _, report = open_checkpoint(sound)
    assert report.family == "llava"
    assert set(report.matched) == set(model.state_dict())
    assert (report.missing, report.unexpected, report.initialised) == ((), (), ())
    assert report.files == (WEIGHTS,)
    assert json.loads(json.dumps(report.to_dict()))["fingerprint"] == report.fingerprint


def test_nothing_is_left_without_memory(sound: Path) -> None:
    model, _, _ = open_checkpoint(sound)
    assert not model.training
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    assert not [name for name, tensor in tensors.items() if tensor.is_meta]


def test_the_number_format_is_the_one_asked_for(sound: Path, folder: Path) -> None:
    model, _, report = open_checkpoint(sound, dtype=torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert report.dtype == "bfloat16"
    assert report.fingerprint == open_checkpoint(sound)[2].fingerprint
    respell(folder, lambda state: state.update({BIAS: state[BIAS].half()}))
    stored, _, _ = open_checkpoint(folder, dtype=None)
    assert stored.connector.mlp[0].bias.dtype == torch.float16
    assert stored.connector.mlp[0].weight.dtype == torch.float32


def test_training_does_not_write_into_the_checkpoint(folder: Path) -> None:
    before = (folder / WEIGHTS).read_bytes()
    model, _, _ = open_checkpoint(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert (folder / WEIGHTS).read_bytes() == before


def test_a_new_connector_is_initialised_only_when_asked(sound: Path) -> None:
    def edit(blueprint: Blueprint) -> Blueprint:
        return blueprint.model_copy(
            update={"connector": {"kind": "pool_mlp", "depth": 3, "order": "mlp_first"}}
        )

    assert "connector.mlp.4.weight" in message(sound, edit=edit)
    model, _, report = open_checkpoint(sound, edit=edit, new_connector=True)
    assert set(report.initialised) == {k for k in model.state_dict() if k.startswith("connector.")}
    assert len(report.ignored) == 4
    assert all(key.startswith("multi_modal_projector.") for key in report.ignored)
    assert all(p.isfinite().all() and p.std() > 0 for p in model.connector.parameters())
    assert tools.our_logits(model, [[tools.film(2, 28, 28)]]).isfinite().all()


def test_only_the_building_thread_builds_without_memory() -> None:
    built: list[nn.Linear] = []
    with parameters_on_meta():
        thread = threading.Thread(target=lambda: built.append(nn.Linear(2, 2)))
        thread.start()
        thread.join()
        mine = nn.Linear(2, 2)
    assert mine.weight.is_meta
    assert not built[0].weight.is_meta
    assert not nn.Linear(2, 2).weight.is_meta


def test_a_published_folder_is_told_from_others(sound: Path, tmp_path: Path) -> None:
    assert hub.is_published(sound)
    assert not hub.is_published(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert not hub.is_published(tmp_path)


def test_every_family_keeps_the_contract() -> None:
    for name, module in hub.families().items():
        assert name == module.FAMILY
        assert module.CLAIMS or module.NARROWS
        assert module.__doc__
        assert "Source: " in module.__doc__
        assert callable(module.blueprint)
        assert module.RULES
        assert module.TOKENS
        assert module.LICENCE
        assert callable(module.to_hub)
    claims = [claim for module in hub.families().values() for claim in module.CLAIMS]
    assert len(claims) == len(set(claims))
