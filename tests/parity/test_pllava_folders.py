"""PLLaVA's folders in all the forms its own code leaves them in: published, or saved on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import parity_tools as tools
import pllava_tools
import pytest
import test_parity_pllava as original
import torch
from safetensors.torch import load_file, save_file
from test_parity_pllava import CLIP, RANK, SHAPE, Adapters, equations, named, wrapped
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from vidapt.errors import CheckpointError
from vidapt.hub import export_hf, family_of, open_checkpoint
from vidapt.hub._report import LoadReport
from vidapt.inference.load import load
from vidapt.loading import open_model
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip
from vidapt.recipe import LoRA, Trained
from vidapt.training.freeze import set_trainable
from vidapt.video import Uniform, decode, write_mp4

oracle, adapters, folder = original.oracle, original.adapters, original.folder
PROJECTOR = "multi_modal_projector."


def logits(model: VideoLM, clip: Tensor = CLIP) -> Tensor:
    return tools.our_logits(model, [[clip]]).double()


def expected_of(model: VideoLM, oracle: Any, adapters: Adapters, scale: float = 4 / RANK) -> Tensor:
    return equations(oracle, adapters, [tools.cut(model, CLIP)], scale=scale)


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=tools.TOLERANCE, rtol=0)


# --- the configuration -----------------------------------------------------------------------------------


def test_the_configuration_decides_between_llava_and_pllava(folder: Path) -> None:
    told = json.loads((folder / "config.json").read_text())
    assert told["model_type"] == "llava"
    assert family_of(told, folder).FAMILY == "pllava"
    assert family_of({**told, "architectures": None}, folder).FAMILY == "pllava"
    assert family_of({**told, "model_type": "pllava"}, folder).FAMILY == "pllava"
    assert family_of({**told, "architectures": ["LlavaForConditionalGeneration"]}, folder).FAMILY == "llava"


def test_published_folders_are_read_by_the_published_rules(folder: Path) -> None:
    plan = open_checkpoint(folder)[0].blueprint
    assert plan.frames == Uniform(count=6, compat="published")
    assert plan.resolution == {"kind": "whole", "fit": "crop", "filter": "pillow", "compat": "published"}


@pytest.mark.parametrize(
    ("text", "vocabulary", "base", "image"),
    [
        (pllava_tools.VICUNA, 64, "llava-hf/llava-v1.6-vicuna-13b-hf", 32000),
        (pllava_tools.YI, 64064, "llava-hf/llava-v1.6-34b-hf", 64002),
    ],
    ids=["13B", "34B"],
)
def test_the_larger_ones_open_too(
    tmp_path: Path, text: dict[str, Any], vocabulary: int, base: str, image: int
) -> None:
    yi = text is pllava_tools.YI
    theirs = tools.llava(
        text_config=tools.text_config(vocab_size=vocabulary, rope_theta=5000000.0 if yi else 10000.0)
    )
    told = pllava_tools.configuration(SHAPE, 6, {**text, "vocab_size": vocabulary}, base, image)
    (tmp_path / "config.json").write_text(json.dumps(told))
    pllava_tools.add_processor(tmp_path)
    pllava_tools.write_shards(tmp_path, wrapped(theirs, {}))
    model, _, report = open_checkpoint(tmp_path)
    assert not report.ignored
    rope = model.language.config.rope_parameters
    assert rope["rope_theta"] == (5000000.0 if yi else 10000.0)
    double = tools.llava(text_config=theirs.config.text_config).double().eval()
    double.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        words = original.sequence(double, [tools.cut(model, CLIP)], tools.AFTER)
        told_by_theirs = tools.at_after(double(inputs_embeds=words).logits)
    close(logits(model), told_by_theirs)


# --- how adapters are spelt ------------------------------------------------------------------------------


def older_base(key: str) -> str:
    return key.replace(".base_layer.", ".")


def without_name(key: str) -> str:
    return key.replace(".default.", ".")


@pytest.mark.parametrize(
    "spell",
    [older_base, without_name, lambda key: older_base(without_name(key))],
    ids=["2023", "peft", "both"],
)
def test_every_spelling_of_adapters_is_read(
    folder: Path, oracle: Any, adapters: Adapters, tmp_path: Path, spell: Callable[[str], str]
) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    pllava_tools.add_processor(tmp_path)
    state = wrapped(oracle, adapters)
    renamed = {spell(key): tensor for key, tensor in state.items()}
    assert len(renamed) == len(state)
    assert renamed.keys() != state.keys()
    pllava_tools.write_shards(tmp_path, renamed)
    model, _, report = open_checkpoint(tmp_path)
    assert report.names.keys() == renamed.keys()
    close(logits(model), expected_of(model, oracle, adapters))


# --- folders of training ---------------------------------------------------------------------------------


def base_of(oracle: LlavaForConditionalGeneration, folder: Path) -> Path:
    """LLaVA-NeXT as published in 2024: hub names, a newline of its own, an index, no word of PLLaVA."""
    folder.mkdir(parents=True)
    state = {
        original.authors_key(key, {}).replace("language_model.base_model.model.", "language_model."): tensor
        for key, tensor in oracle.state_dict().items()
    }
    state["image_newline"] = torch.zeros(32)
    pllava_tools.write_shards(folder, state)
    told = {"model_type": "llava_next", "architectures": ["LlavaNextForConditionalGeneration"]}
    (folder / "config.json").write_text(json.dumps(told))
    pllava_tools.add_processor(folder)
    return folder


def trained_projector(oracle: LlavaForConditionalGeneration) -> dict[str, Tensor]:
    state = {k.removeprefix("model."): t for k, t in oracle.state_dict().items() if PROJECTOR in k}
    return {key: tensor + 0.25 for key, tensor in state.items()}


@pytest.fixture
def step(oracle: LlavaForConditionalGeneration, adapters: Adapters, tmp_path: Path) -> Path:
    """What the authors' training saves after 200,000 samples, beside a base that the name leads to."""
    base_of(oracle, tmp_path / "models" / "llava-v1.6-vicuna-7b-hf")
    place = tmp_path / "models" / "out" / "pretrained_step0.2000M"
    place.mkdir(parents=True)
    told = pllava_tools.configuration(
        SHAPE, 6, pllava_tools.VICUNA, "../../llava-v1.6-vicuna-7b-hf", image=32000
    )
    (place / "config.json").write_text(json.dumps(told))
    pllava_tools.add_processor(place)
    state = {**named(adapters), **trained_projector(oracle)}
    save_file({key: t.contiguous() for key, t in state.items()}, place / "model.safetensors")
    return place


def tuned(oracle: LlavaForConditionalGeneration) -> LlavaForConditionalGeneration:
    """The original with the projector that was trained."""
    changed = tools.llava()
    changed.load_state_dict(
        {**oracle.state_dict(), **{f"model.{k}": t for k, t in trained_projector(oracle).items()}}
    )
    return changed


def test_a_folder_of_training_opens_on_the_checkpoint_it_names(
    step: Path, oracle: Any, adapters: Adapters
) -> None:
    reports: list[LoadReport] = []
    model, _ = open_model(step, tell=reports.append)
    close(logits(model), expected_of(model, tuned(oracle), adapters))
    assert (logits(model) - expected_of(model, oracle, adapters)).abs().max() > 100 * tools.TOLERANCE
    (report,) = reports
    replaced = {key for key, why in report.ignored.items() if "own projector" in why}
    assert replaced == {f"base:{key}" for key in trained_projector(oracle)}
    assert report.ignored.keys() - replaced == {"base:image_newline"}
    assert set(report.matched) == set(model.state_dict())
    own = {key for key in report.names if not key.startswith("base:")}
    assert own == load_file(step / "model.safetensors").keys()
    assert "model.safetensors" in report.files
    assert sum("llava-v1.6-vicuna-7b-hf" in file for file in report.files) == 3
    assert len(report.fingerprint) == 64


def test_the_layout_of_today_may_lie_beneath(step: Path, oracle: Any, adapters: Adapters) -> None:
    base = step.parents[1] / "llava-v1.6-vicuna-7b-hf"
    for file in base.glob("model*"):
        file.unlink()
    save_file({k: t.contiguous() for k, t in oracle.state_dict().items()}, base / "model.safetensors")
    model, _ = open_model(step)
    close(logits(model), expected_of(model, tuned(oracle), adapters))


def test_the_end_of_an_epoch_is_saved_without_a_tokenizer_which_the_base_has(step: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (step / name).unlink()
    _, tokenizer = open_model(step)
    assert tokenizer("w7 w8").input_ids == [7, 8]


def test_a_projector_alone_was_trained(step: Path, oracle: Any) -> None:
    state = {key: t.contiguous() for key, t in trained_projector(oracle).items()}
    save_file(state, step / "model.safetensors")
    model, _ = open_model(step)
    assert model.blueprint.adapters is None
    close(logits(model), expected_of(model, tuned(oracle), {}, scale=0))


def rename_base(step: Path, name: Any) -> None:
    path = step / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_name_or_path": name}))


@pytest.mark.parametrize("name", [None, "", 3])
def test_without_a_name_one_is_told_to_write_it(step: Path, name: Any) -> None:
    rename_base(step, name)
    with pytest.raises(CheckpointError, match="does not say on which checkpoint") as caught:
        open_model(step)
    assert "as `_name_or_path`" in caught.value.remedy


@pytest.mark.parametrize("name", ["llava-hf/llava-v1.6-vicuna-7b-hf", "/nowhere/llava", "a\0b"])
def test_a_base_that_cannot_be_had_is_named_with_what_to_do(step: Path, name: str) -> None:
    rename_base(step, name)
    with pytest.raises(CheckpointError) as caught:
        open_model(step)
    assert repr(name) in str(caught.value)
    assert str(step / "config.json") in str(caught.value)
    assert "write its folder in place of the name" in caught.value.remedy


def test_without_a_base_nothing_is_opened(step: Path) -> None:
    with pytest.raises(CheckpointError, match=r"trained only; the rest is that of \.\./\.\."):
        open_checkpoint(step)


def test_a_base_of_another_size_is_refused_by_tensor(step: Path) -> None:
    other = tools.llava(text_config=tools.text_config(intermediate_size=40))
    base = base_of(other, step.parents[1] / "other")
    rename_base(step, str(base))
    with pytest.raises(CheckpointError, match=r"mlp\.\w+_proj\.weight: expected \[.*48.*found \[.*40"):
        open_model(step)


def test_adapters_of_layers_that_the_base_lacks_are_refused(step: Path) -> None:
    state = load_file(step / "model.safetensors")
    key = next(key for key in state if "layers.0." in key and "q_proj.lora_A" in key)
    state[key.replace("layers.0.", "layers.7.")] = state[key].clone()
    save_file(state, step / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.7\..*q_proj\.lora_A"):
        open_model(step)


# --- writing it back -------------------------------------------------------------------------------------


def stored(folder: Path) -> set[str]:
    return {key for file in folder.glob("*.safetensors") for key in load_file(file)}


def change_adapters(model: VideoLM) -> None:
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(torch.randn_like(weight) * 0.1)


@pytest.mark.parametrize("alpha", [4.0, 256.0, 6.0])
def test_adapters_stay_apart_in_the_authors_layout_at_the_authors_alpha(
    folder: Path, oracle: Any, adapters: Adapters, tmp_path: Path, alpha: float
) -> None:
    model, tokenizer, _ = open_checkpoint(folder)
    set_trainable(
        model, Trained(language="lora", lora=LoRA(rank=RANK, alpha=alpha, targets=("v_proj", "q_proj")))
    )
    model.eval()
    close(logits(model), expected_of(model, oracle, adapters))
    torch.manual_seed(3)
    change_adapters(model)
    export_hf(tmp_path / "out", model, tokenizer)
    assert stored(tmp_path / "out") == wrapped(oracle, adapters).keys()
    assert (tmp_path / "out" / "config.json").read_text() == (folder / "config.json").read_text()
    again, _ = open_model(tmp_path / "out")
    close(logits(again), logits(model))
    assert (logits(again) - expected_of(model, oracle, adapters)).abs().max() > 100 * tools.TOLERANCE
    assert again.blueprint.adapters is not None
    assert (again.blueprint.prompt, again.blueprint.frames) == (
        model.blueprint.prompt,
        model.blueprint.frames,
    )
    # The original reads these files, with its own alpha of 4, by the same equations.
    state = {
        key: t for file in (tmp_path / "out").glob("*.safetensors") for key, t in load_file(file).items()
    }
    place = "language_model.base_model.model.model."
    theirs = {
        layer: tuple(state[f"{place}{layer}.lora_{side}.default.weight"] for side in "AB")
        for layer in adapters
    }
    close(logits(model), expected_of(model, oracle, theirs))  # type: ignore[arg-type]


def test_adapters_that_the_authors_code_would_not_read_are_merged(
    folder: Path, oracle: Any, tmp_path: Path
) -> None:
    model, tokenizer, _ = open_checkpoint(folder)
    set_trainable(model, Trained(language="lora", lora=LoRA(rank=2)))
    change_adapters(model.eval())
    export_hf(tmp_path / "out", model, tokenizer)
    assert not [key for key in stored(tmp_path / "out") if "lora_" in key or "base_model" in key]
    again, _ = open_model(tmp_path / "out")
    assert again.blueprint.adapters is None
    close(logits(again), logits(model))


def test_a_folder_of_training_is_written_whole(
    step: Path, oracle: Any, adapters: Adapters, tmp_path: Path
) -> None:
    model, tokenizer = open_model(step)
    export_hf(tmp_path / "out", model, tokenizer)
    assert stored(tmp_path / "out") == wrapped(oracle, adapters).keys()
    again, _, report = open_checkpoint(tmp_path / "out")
    assert not report.ignored
    close(logits(again), logits(model))


# --- a whole clip ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(720, 1280), (800, 450)], ids=["1280x720", "portrait"])
def test_a_clip_is_seen_as_by_the_originals_code_from_file_to_logits(
    folder: Path, oracle: Any, adapters: Adapters, tmp_path: Path, height: int, width: int
) -> None:
    path = tmp_path / "clip.mp4"
    write_mp4(path, tools.film(23, height, width).numpy(), 12)
    model, _, _ = open_checkpoint(folder)
    frames = torch.from_numpy(decode(Clip("c", path), model.blueprint.frames).pixels)
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    step, start = 22 / 6, int(22 / 6 / 2)
    chosen = [start + round(step * index) for index in range(6)]
    theirs = torch.stack([torch.from_numpy(shown[index]) for index in chosen])
    assert torch.equal(frames, theirs)
    pixels = pllava_tools.pixels_of(theirs, tools.image_processor())
    close(logits(model, frames), equations(oracle, adapters, [pixels], scale=4 / RANK))
    squeezed = pllava_tools.pixels_of(theirs[:, ::2, ::2], tools.image_processor())
    other = equations(oracle, adapters, [squeezed], scale=4 / RANK)
    assert (logits(model, frames) - other).abs().max() > 10 * tools.TOLERANCE


def test_it_answers(step: Path, tmp_path: Path) -> None:
    write_mp4(tmp_path / "clip.mp4", tools.film(5, 40, 64).numpy(), 5)
    assert isinstance(load(step).ask(tmp_path / "clip.mp4", "w7 w9", max_new_tokens=3), str)
