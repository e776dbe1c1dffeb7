"""Our HiLight against its equations, written plainly in float64, from files in the authors' layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clip_tools as clip
import numpy as np
import openai_tools as openai
import parity_tools as tools
import pytest
import torch
import two_tower_tools as two
from letters import Letters
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GemmaConfig, GemmaForCausalLM
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError
from vidapt.hub import export_hf, hilight, open_checkpoint
from vidapt.models.text import encode
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Features, Grid, Sample, Turn
from vidapt.recipe import Blueprint, Prompt
from vidapt.video.choose import choose
from vidapt.video.probe import Probe
from vidapt.video.write import write_mp4

WIDTH, SHARED, WORDS, ROWS, FRAMES, ADDED = 128, openai.SHARED, 32, 3, 5, 3
"""Widths of CLIP-ViP, Long-CLIP and Gemma, tokens for each feature, rows of the temporal table, proxies."""

MAIN, AUX = "clipvip_base.pt", "longclip-B.pt"
CONFIG = {
    "model_type": "hilight_gemma",
    "architectures": ["HiLightGemmaForCausalLM"],
    "mm_vision_tower": f"model_zoo/CLIP-ViP/{MAIN}",
    "mm_vision_tower_aux": f"model_zoo/Long-CLIP/{AUX}",
    "hidden_act": "gelu",
    "rope_theta": 10000.0,
    "torch_dtype": "float32",
    "transformers_version": "4.38.2",
    "use_cache": True,
    "tokenizer_model_max_length": 512,
}

MINING = "model.token_mining."
LAYERS = {
    "released": ("query", "key", "val", "LongCLIP", "CLIP_VIP", "out.1", "out.3"),
    "v2": ("query", "key", "val", "out.1", "out.3"),
    "v1": ("query", "key", "val", "out.1"),
}


def gemma(hidden_act: str = "gelu_python") -> GemmaForCausalLM:
    """`gelu` is the exact one in the version HiLight was trained under; 5.x calls that `gelu_python`."""
    torch.manual_seed(0)
    fields = tools.text_config(initializer_range=0.3).to_dict()
    kept = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
        "max_position_embeddings",
        "initializer_range",
    )
    config = GemmaConfig(**{key: fields[key] for key in kept}, head_dim=8, hidden_act=hidden_act)
    return GemmaForCausalLM(config).eval()


class Original:
    """Weights by the authors' names, and the equations."""

    def __init__(self, variant: str = "released") -> None:
        self.variant = variant
        self.language = tools.shake(gemma())
        self.main = clip_vip_state()
        self.aux = openai.state(248, long=True)
        self.mining = mining_state(variant)
        self.language64 = gemma().double()
        self.language64.load_state_dict(self.language.state_dict())
        weights = {key.removeprefix("clipmodel."): tensor for key, tensor in two.doubled(self.main).items()}
        self.tower = {key.replace("vision_model.", "tower.net."): tensor for key, tensor in weights.items()}
        self.tower["tower.added"] = weights["vision_model.embeddings.added_cls"]
        self.tower["tower.temporal"] = weights["vision_model.embeddings.temporal_embedding"]
        self.frames = openai.as_transformers(self.aux)
        self.exact = {key.removeprefix(MINING): tensor for key, tensor in two.doubled(self.mining).items()}

    def write(self, folder: Path) -> Path:
        language = {key: t for key, t in self.language.state_dict().items() if key != "lm_head.weight"}
        state = {**language, **self.mining}
        save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, folder / WEIGHTS)
        config = self.language.config.to_dict()
        sizes = {key: value for key, value in config.items() if isinstance(value, int | float | bool)}
        (folder / "config.json").write_text(json.dumps({**sizes, **CONFIG}))
        torch.save(self.main, folder / MAIN)
        torch.save(self.aux, folder / AUX)
        tools.add_processors(folder)
        return folder

    @torch.no_grad()
    def tokens(self, view: Tensor, variant: str = "", *, scaled: bool = True, proxies: bool = True) -> Tensor:
        """[n, D] of one clip, from its view [T, 3, h, w] uint8."""
        variant = variant or self.variant
        sources = clip.clip_vip_states(view, self.tower, "tower", heads=2)
        sources = sources if proxies else sources[1 + ADDED :]
        features = torch.stack([self.feature(frame) for frame in view])
        if variant in ("released", "transposed"):
            sources = two.linear(sources, self.exact, "CLIP_VIP_projector.0").clamp_min(0)
            features = torch.cat([self.rows(feature, variant) for feature in features])
        q, k, v = (
            two.linear(two.norm(x, self.exact, f"{name}_projector.0"), self.exact, f"{name}_projector.1")
            for x, name in ((features, "query"), (sources, "key"), (sources, "val"))
        )
        mined = torch.softmax(q @ k.T / SHARED**0.5, dim=1) @ v
        out = "tokenizer_projector"
        tokens = two.linear(two.norm(mined, self.exact, f"{out}.0"), self.exact, f"{out}.1")
        if variant != "v1":
            tokens = two.linear(tokens.clamp_min(0), self.exact, f"{out}.3").clamp_min(0)
        return tokens * (WORDS**0.5 if scaled else 1.0)

    def feature(self, frame: Tensor) -> Tensor:
        """Long-CLIP's projected class token of one frame, not of unit length."""
        states = clip.image_states(frame, self.frames, "vision", heads=2)
        return clip.norm(states[0], self.frames, "vision.post_layernorm") @ self.frames["visual.proj"]

    def rows(self, feature: Tensor, variant: str) -> Tensor:
        weight, bias = (self.exact[f"LongCLIP_projector.0.{kind}"] for kind in ("weight", "bias"))
        wide = (feature[:, None] * weight[:, 0] + bias).clamp_min(0)  # [A, E]
        if variant == "transposed":
            return torch.stack([wide[:, j] for j in range(ROWS)])
        flat = wide.flatten()
        return torch.stack([flat[j * SHARED : (j + 1) * SHARED] for j in range(ROWS)])


WEIGHTS = "model.safetensors"


def clip_vip_state() -> dict[str, Tensor]:
    from test_dual_encoder import authors

    return authors()


def mining_state(variant: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(6)

    def pair(name: str, rows: int, columns: int | None = None) -> dict[str, Tensor]:
        shape = (rows,) if columns is None else (rows, columns)
        weight = torch.randn(*shape, generator=generator) * (0.3 if columns is None else columns**-0.5)
        bias = torch.randn(rows, generator=generator) * 0.2
        around = 2.0 if columns is None else 0.0
        return {f"{MINING}{name}.weight": weight + around, f"{MINING}{name}.bias": bias}

    state: dict[str, Tensor] = {}
    for layer in LAYERS[variant]:
        if layer == "LongCLIP":
            state |= pair("LongCLIP_projector.0", ROWS, 1)
        elif layer == "CLIP_VIP":
            state |= pair("CLIP_VIP_projector.0", WIDTH, WIDTH)
        elif layer == "out.1":
            state |= pair("tokenizer_projector.0", SHARED) | pair("tokenizer_projector.1", WORDS, SHARED)
        elif layer == "out.3":
            state |= pair("tokenizer_projector.3", WORDS, WORDS)
        else:
            width = SHARED if layer == "query" else WIDTH
            state |= pair(f"{layer}_projector.0", width) | pair(f"{layer}_projector.1", SHARED, width)
    return state


@pytest.fixture(scope="module")
def original() -> Original:
    return Original()


@pytest.fixture(scope="module")
def sound(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return original.write(tmp_path_factory.mktemp("hilight"))


@pytest.fixture(scope="module")
def model(sound: Path) -> VideoLM:
    opened, _, _ = open_checkpoint(sound)
    return opened


def view_of(model: VideoLM, film: Tensor) -> Tensor:
    first, second = model.cut(film).tensors
    assert torch.equal(first, second)
    return first[0]


def worst(model: VideoLM, original: Original, rows: list[list[Tensor]], **how: Any) -> float:
    def tokens(film: Tensor, together: int) -> Tensor:
        del together
        return original.tokens(view_of(model, film), **how)

    return two.compare(model, original.language64, rows, tokens)


STILL, VIDEO = tools.film(1, 61, 47), tools.film(6, 90, 160)
ROWS_OF_CLIPS = {
    "image": [[STILL]],
    "video": [[VIDEO]],
    "as many frames as the table": [[tools.film(FRAMES, 20, 20)]],
    "several images": [[STILL, tools.film(1, 30, 80, seed=1)]],
    "several clips": [[VIDEO, tools.film(3, 33, 44, seed=1), STILL]],
    "mixed batch": [[VIDEO], [STILL, tools.film(2, 20, 30, seed=2)], [tools.film(4, 28, 28, seed=3)]],
}


@pytest.mark.parametrize("rows", ROWS_OF_CLIPS.values(), ids=ROWS_OF_CLIPS.keys())
def test_logits_equal_the_equations(model: VideoLM, original: Original, rows: list[list[Tensor]]) -> None:
    assert worst(model, original, rows) < tools.TOLERANCE


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_earlier_variants_are_told_by_their_layers(tmp_path: Path, variant: str) -> None:
    original = Original(variant)
    model, _, _ = open_checkpoint(original.write(tmp_path))
    assert model.blueprint.connector["variant"] == variant
    assert worst(model, original, [[VIDEO], [STILL]]) < tools.TOLERANCE


def connector(**change: Any) -> Callable[[Blueprint], Blueprint]:
    return lambda plan: plan.model_copy(update={"connector": {**plan.connector, **change}})


def test_the_transposed_expansion_can_be_asked_for(sound: Path, original: Original) -> None:
    model, _, _ = open_checkpoint(sound, edit=connector(variant="transposed"))
    assert worst(model, original, [[VIDEO]], variant="transposed") < tools.TOLERANCE


@pytest.mark.parametrize("mistake", [{"variant": "transposed"}, {"like_words": False}])
def test_a_mistake_in_the_connector_breaks_the_match(
    sound: Path, original: Original, mistake: dict[str, Any]
) -> None:
    model, _, _ = open_checkpoint(sound, edit=connector(**mistake))
    assert worst(model, original, [[VIDEO]]) > 100 * tools.TOLERANCE


def test_dropped_proxies_break_the_match(
    model: VideoLM, original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    see = model.see

    def blind(views: Tensor, tower: int = 0) -> Features:
        return Features(see(views, tower).x)

    assert worst(model, original, [[VIDEO]], proxies=False) > 100 * tools.TOLERANCE
    monkeypatch.setattr(model, "see", blind)
    assert worst(model, original, [[VIDEO]]) > 100 * tools.TOLERANCE
    assert worst(model, original, [[VIDEO]], proxies=False) < tools.TOLERANCE


@torch.no_grad()
def test_gemma_scales_words_and_not_what_stands_in_their_place(original: Original) -> None:
    language, ids = original.language64, torch.tensor([3, 9, 27])
    table = language.model.embed_tokens.weight
    torch.testing.assert_close(
        language.get_input_embeddings()(ids), table[ids] * WORDS**0.5, atol=1e-6, rtol=0
    )
    by_id = language(input_ids=ids[None]).logits
    scaled, plain = (language(inputs_embeds=table[ids][None] * s).logits for s in (WORDS**0.5, 1.0))
    torch.testing.assert_close(scaled, by_id, atol=1e-5, rtol=0)
    assert (plain - by_id).abs().max() > 0.1


def test_the_exact_gelu_of_the_trained_version_is_kept(model: VideoLM, original: Original) -> None:
    other = gemma("gelu_pytorch_tanh").double()
    other.load_state_dict(original.language.state_dict())

    def tokens(film: Tensor, together: int) -> Tensor:
        del together
        return original.tokens(view_of(model, film))

    assert model.language.config.hidden_act == "gelu_python"
    assert two.compare(model, other, [[VIDEO]], tokens) > 5 * tools.TOLERANCE


def test_greedy_answers_of_a_mixed_batch_equal_transformers(model: VideoLM, original: Original) -> None:
    clips = [VIDEO, STILL, tools.film(3, 40, 30, seed=5)]
    theirs = [two.their_answer(original.language64, original.tokens(view_of(model, c))) for c in clips]
    assert two.our_answers(model, clips) == theirs
    assert len(theirs[0]) == 32
    assert len(set(theirs)) > 1


def test_twelve_frames_become_twelve_times_the_rows(model: VideoLM) -> None:
    plan, layout = model.plan((90, 160), 12)
    assert [view.tower for view in plan.views] == [0, 1]
    assert layout == ((Grid(12, 1, ROWS), 0),)


@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 30, 89, 90, 251])
def test_frames_are_the_truncated_even_choice(model: VideoLM, count: int) -> None:
    rate = 25.0
    known = Probe(Path("x.mp4"), "video", count / rate, rate, 9, 9, 0, "h264", count, estimated=False)
    times = choose(model.blueprint.frames, known)
    assert not isinstance(times, str)
    shown = [min(count - 1, int(time * rate + 1e-6)) for time in times]
    assert shown == np.linspace(0, count - 1, 12).astype(int).tolist()


def test_the_prompt_is_the_authors(model: VideoLM) -> None:
    prompt = model.blueprint.prompt
    user = prompt.user.replace("{text}", prompt.media.replace("{media}", "<video>") + "Q")
    text = prompt.start + user + prompt.opening + prompt.answer.replace("{text}", "A") + prompt.end
    turn = "<start_of_turn>user\n<video>\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<eos>"
    assert text == f"<bos>{turn}"


def read_of(prompt: Prompt, *said: str, clips: int = 1) -> str:
    """What a model reads of a conversation, with `<video>` for a clip's tokens."""
    roles: tuple[Any, ...] = ("user", "assistant")
    turns = tuple(Turn(roles[index % 2], text) for index, text in enumerate(said))
    media = tuple(Clip(str(index), Path("c.mp4")) for index in range(clips))
    encoded = encode(Sample("1", media, turns), prompt, Letters())
    prefix = ["<video>" if isinstance(p, int) else "".join(map(chr, p)) for p in encoded.prefix]
    return "".join(prefix) + "".join(map(chr, encoded.ids))


def authors(*said: str) -> str:
    """The same by the authors' `preprocess_multimodal` and their template."""
    text = "<bos>"
    for index, words in enumerate(said):
        if "<video>" in words:
            words = ("<video>\n" + words.replace("<video>", "").strip()).strip()
        role, after = (("user", ""), ("model", "<eos>"))[index % 2]
        text += f"<start_of_turn>{role}\n{words}<end_of_turn>\n{after}"
    return text


CONVERSATIONS = {
    "behind": ("Which ball was pocketed?\n<video>", "The red one."),
    "in front": ("<video>\nWhich ball?", "The red one."),
    "in front, close": ("<video>Which ball?", "The red one."),
    "in the middle": ("In <video> which ball?  ", "The red one."),
    "in a later turn": ("Hello.", "Hi.", "What is it? <video>", "A ball."),
}


@pytest.mark.parametrize("said", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_a_clip_is_read_in_front_of_its_turn_as_the_authors_move_it(
    model: VideoLM, said: tuple[str, ...]
) -> None:
    assert read_of(model.blueprint.prompt, *said) == authors(*said)


def test_elsewhere_a_clip_is_read_where_its_mark_stands(model: VideoLM) -> None:
    own = model.blueprint.prompt.model_copy(update={"compat": None})
    said = CONVERSATIONS["behind"]
    assert "pocketed?\n<video>" in read_of(own, *said)
    assert read_of(own, *said) != authors(*said)


def test_several_clips_of_a_turn_keep_their_order_and_none_is_lost(model: VideoLM) -> None:
    read = read_of(model.blueprint.prompt, "What is in <video> and not in <video>?", "It.", clips=2)
    assert "user\n<video>\n<video>\nWhat is in  and not in ?<end_of_turn>" in read


def test_the_report_names_what_is_not_used(sound: Path) -> None:
    _, _, report = open_checkpoint(sound)
    assert report.files == tuple(sorted([MAIN, AUX, WEIGHTS]))
    used = {"vision_model", "text_model", "visual_projection", "text_projection", "logit_scale"}
    named = {key.split(":")[1].split(".")[1] for key in report.ignored if key.startswith("mm_vision_tower:")}
    assert named == used
    assert all(report.ignored.values())


# Bad folders


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(sound, tmp_path / "checkpoint"))


def message(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert caught.value.remedy
    return str(caught.value)


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("name", [MAIN, AUX])
def test_a_missing_tower_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in message(folder)
    assert "beside config.json" in message(folder)


def test_a_tower_may_lie_in_a_folder_of_its_name(folder: Path, model: VideoLM) -> None:
    (folder / AUX).rename(folder / "aux.pt")
    (folder / AUX).mkdir()
    (folder / "aux.pt").rename(folder / AUX / "weights.pt")
    opened, _, _ = open_checkpoint(folder)
    assert torch.equal(tools.our_logits(opened, [[STILL]]), tools.our_logits(model, [[STILL]]))


@pytest.mark.parametrize("named", [None, "", 3, "..", "model_zoo/.."])
def test_a_configuration_that_names_no_file_is_refused(folder: Path, named: Any) -> None:
    configure(folder, mm_vision_tower=named)
    message(folder)


def test_a_configuration_cannot_reach_outside_its_folder(folder: Path) -> None:
    shutil.move(folder / MAIN, folder.parent / MAIN)
    configure(folder, mm_vision_tower=f"../{MAIN}")
    assert "is not there" in message(folder)


def test_the_two_towers_are_not_confused(folder: Path) -> None:
    configure(folder, mm_vision_tower=AUX, mm_vision_tower_aux=MAIN)
    assert "belong to no part of a hilight model" in message(folder)


def test_image_clip_in_place_of_clip_vip_is_refused(folder: Path) -> None:
    state = {key: t for key, t in clip_vip_state().items() if "temporal" not in key}
    torch.save(state, folder / MAIN)
    assert "temporal" in message(folder)


def test_weights_without_the_mining_module_are_refused(folder: Path) -> None:
    state = {key: t for key, t in load_file(folder / WEIGHTS).items() if MINING not in key}
    save_file(state, folder / WEIGHTS)
    assert "connector.query.0.weight" in message(folder)


# Writing


def test_a_written_model_holds_its_towers_and_gives_the_same_logits(
    model: VideoLM, sound: Path, tmp_path: Path
) -> None:
    _, tokenizer, _ = open_checkpoint(sound)
    export_hf(tmp_path / "out", model, tokenizer)
    again, _, report = open_checkpoint(tmp_path / "out")
    assert set(report.files) == {WEIGHTS}
    assert report.ignored == {}
    for rows in ([[VIDEO]], [[STILL]]):
        assert torch.equal(tools.our_logits(again, rows), tools.our_logits(model, rows))


def test_writing_gives_the_authors_names_back(model: VideoLM, sound: Path) -> None:
    written = hilight.to_hub(model.state_dict())
    read = load_file(sound / WEIGHTS)
    assert all(torch.equal(written[key], tensor) for key, tensor in read.items())
    others = {key for key in written if key not in read}
    towers = ("model.vision_tower.clipmodel.", "model.vision_tower_aux.visual.")
    assert all(key.startswith(towers) or key == "lm_head.weight" for key in others)


def test_captions_of_a_real_file(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_mp4(tmp_path / "clips" / "one.mp4", np.asarray(tools.film(6, 64, 96)), 3)
    out = tmp_path / "captions.jsonl"
    options = ["--model", str(sound), "--out", str(out), "--max-tokens", "4", "--workers", "1"]
    shown = CliRunner().invoke(app, ["caption", str(tmp_path / "clips"), *options])
    assert shown.exit_code == 0, shown.output
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert row["caption"]
