"""Our Qwen2-VL gives transformers' logits and words, when transformers is told the paper's positions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import parity_tools as tools
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError
from vidapt.hub import open_checkpoint, qwen2_vl
from vidapt.hub._open import parameters_on_meta
from vidapt.inference.load import load
from vidapt.models.generate import Decoding, generate
from vidapt.models.packed import Group, pack
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip
from vidapt.recipe import Blueprint
from vidapt.video import Every, decode, frame_indices, write_mp4

P = 4
LIMITS = {"shortest_edge": 4 * 64, "longest_edge": 24 * 64}

STILL, OTHER, TALL = tools.film(1, 30, 50), tools.film(1, 70, 20, seed=1), tools.film(1, 90, 9, seed=4)
VIDEO, LONG = tools.film(5, 40, 24, seed=2), tools.film(14, 21, 30, seed=3)

CONVERSATIONS = {
    "image": [STILL],
    "several images": [STILL, OTHER, TALL],
    "video": [VIDEO],
    "long video": [LONG],
    "image and videos": [LONG, STILL, VIDEO],
}


def oracle_of(vocabulary: int = 64, **changes: Any) -> Qwen2VLForConditionalGeneration:
    torch.manual_seed(0)
    text = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary,
        "initializer_range": 0.3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [1, 1, 2]},
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    vision = {
        "depth": 2,
        "embed_dim": 16,
        "hidden_size": 32,
        "num_heads": 2,
        "mlp_ratio": 2,
        "patch_size": P,
        "initializer_range": 0.1,
    }
    special = {"image_token_id": tools.IMAGE, "video_token_id": tools.VIDEO}
    special |= {"vision_start_token_id": 58, "vision_end_token_id": 59}
    config = Qwen2VLConfig(text_config=text, vision_config=vision, **{**special, **changes})
    return tools.shake(Qwen2VLForConditionalGeneration(config))


def save(oracle: Qwen2VLForConditionalGeneration, folder: Path) -> Path:
    tools.save(oracle, folder)
    processor = Qwen2VLImageProcessorPil(patch_size=P, size=LIMITS)
    processor.save_pretrained(folder)
    (folder / "video_preprocessor_config.json").write_text(json.dumps({"size": LIMITS}))
    return folder


@pytest.fixture(scope="module")
def oracle() -> Qwen2VLForConditionalGeneration:
    return oracle_of()


@pytest.fixture(scope="module")
def folder(oracle: Qwen2VLForConditionalGeneration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(oracle, tmp_path_factory.mktemp("qwen2_vl"))


@pytest.fixture
def model(folder: Path) -> VideoLM:
    return open_checkpoint(folder)[0]


def patches(clip: Tensor) -> Tensor:
    """[T, 3, H, W] uint8 pixels of the right size as the original's rows of patches."""
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    pixels = (clip.float() / 255 - mean) / std
    if len(pixels) % 2:
        pixels = torch.cat([pixels, pixels[-1:]])
    t, h, w = len(pixels) // 2, pixels.shape[-2] // P, pixels.shape[-1] // P
    split = pixels.reshape(t, 2, 3, h // 2, 2, P, w // 2, 2, P)
    return split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t * h * w, -1)


MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def positions(pieces: Sequence[int | tuple[int, int, int]]) -> Tensor:
    """[3, 1, L], from the facts: a word counts one on all axes; a clip starts at s, the next at the most."""
    rows: list[tuple[int, int, int]] = []
    s = 0
    for piece in pieces:
        if isinstance(piece, int):
            rows += [(s + i, s + i, s + i) for i in range(piece)]
        else:
            t, h, w = piece
            rows += [(s + i, s + j, s + k) for i in range(t) for j in range(h) for k in range(w)]
        s = max(max(row) for row in rows) + 1
    return torch.tensor(rows).T.unsqueeze(1)


class Theirs:
    """One conversation as the original takes it.

    Args:
        oracle: The original.
        model: Ours; its resolution cuts the frames, which the processor's tests compare.
        clips: [T, H, W, 3] each.
        words: Ids behind the last clip.
        before: Ids in front of the first.
    """

    def __init__(
        self,
        oracle: Any,
        model: VideoLM,
        clips: Sequence[Tensor],
        words: Sequence[int],
        before: Sequence[int] = tools.BEFORE,
    ) -> None:
        self.oracle = oracle
        self.ids: list[int] = []
        self.kinds: list[int] = []
        self.pieces: list[Any] = []
        self._text(before)
        given: dict[str, list[Any]] = {}
        for index, clip in enumerate(clips):
            if index:
                self._text(tools.BETWEEN)
            (view,) = model.cut(clip, len(clips)).tensors
            name = "image" if len(clip) == 1 else "video"
            t, h, w = (len(clip) + 1) // 2, view.shape[-2] // P, view.shape[-1] // P
            suffix = "" if name == "image" else "_videos"
            given.setdefault(f"pixel_values{suffix}", []).append(patches(view[0]))
            given.setdefault(f"{name}_grid_thw", []).append(torch.tensor([[t, h, w]]))
            count = t * h * w // 4
            self.ids += [getattr(oracle.config, f"{name}_token_id")] * count
            self.kinds += [1 if name == "image" else 2] * count
            self.pieces.append((t, h // 2, w // 2))
        self._text(words)
        self.given = {name: torch.cat(tensors) for name, tensors in given.items()}

    def _text(self, words: Sequence[int]) -> None:
        self.ids += words
        self.kinds += [0] * len(words)
        self.pieces.append(len(words))

    @torch.no_grad()
    def read(self) -> Any:
        return self.oracle(
            input_ids=torch.tensor([self.ids]),
            mm_token_type_ids=torch.tensor([self.kinds]),
            position_ids=positions(self.pieces),
            use_cache=True,
            **self.given,
        )

    def logits(self) -> Tensor:
        logits = self.read().logits
        assert isinstance(logits, Tensor)
        return logits

    @torch.no_grad()
    def write(self, count: int) -> list[int]:
        """Greedy words, step by step with explicit positions."""
        out, written = self.read(), []
        place = positions(self.pieces).max()
        for step in range(1, count + 1):
            written.append(int(out.logits[0, -1].argmax()))
            out = self.oracle(
                input_ids=torch.tensor([written[-1:]]),
                position_ids=(place + step).expand(3, 1, 1),
                past_key_values=out.past_key_values,
            )
        return written


def expected(oracle: Any, model: VideoLM, rows: Sequence[Sequence[Tensor]]) -> Tensor:
    each = [Theirs(oracle, model, clips, tools.AFTER).logits() for clips in rows]
    return torch.cat([tools.at_after(logits) for logits in each])


def test_frames_are_chosen_as_by_the_released_utilities(model: VideoLM) -> None:
    """tests/unit/test_video_published.py compares the rule; here it is the opened model's."""
    policy = model.blueprint.frames
    assert policy == Every(rate=2.0, cap=768, at="endpoints", least=4, compat="published")
    assert frame_indices(policy, frames=165, fps=30.0) == (0, 18, 36, 55, 73, 91, 109, 128, 146, 164)


@pytest.mark.parametrize("clips", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_logits_equal_transformers(oracle: Any, model: VideoLM, clips: list[Tensor]) -> None:
    theirs = expected(oracle, model, [clips])
    assert theirs.std() > 0.1
    torch.testing.assert_close(tools.our_logits(model, [clips]), theirs, atol=tools.TOLERANCE, rtol=0)


def test_rows_of_a_batch_equal_transformers_one_by_one(oracle: Any, model: VideoLM) -> None:
    rows = list(CONVERSATIONS.values())
    theirs = expected(oracle, model, rows)
    torch.testing.assert_close(tools.our_logits(model, rows), theirs, atol=tools.TOLERANCE, rtol=0)


def test_a_still_is_prepared_and_read_as_by_the_originals_processor(oracle: Any, model: VideoLM) -> None:
    processor = Qwen2VLImageProcessorPil(patch_size=P, size=LIMITS)
    conversation = Theirs(oracle, model, [OTHER], tools.AFTER)
    made = processor(OTHER[0].numpy(), return_tensors="pt", input_data_format="channels_last")
    assert torch.equal(made["image_grid_thw"], conversation.given["image_grid_thw"])
    torch.testing.assert_close(made["pixel_values"], conversation.given["pixel_values"], atol=1e-5, rtol=0)
    conversation.given = dict(made)
    theirs = tools.at_after(conversation.logits())
    torch.testing.assert_close(tools.our_logits(model, [[OTHER]]), theirs, atol=tools.TOLERANCE, rtol=0)


def test_questions_behind_one_clip_do_not_see_each_other(model: VideoLM) -> None:
    (reading,), visual = tools.visual_tokens(model, [LONG])
    texts = [(9, 10, 11), (20, 21, 22, 23), (30, 31)]
    encoded = [Encoded((tuple(tools.BEFORE), 0), ids, (True,) * len(ids)) for ids in texts]
    with torch.no_grad():
        together = model(pack([Group(tuple(encoded), (reading,))], model.positions), visual)
        alone = [model(pack([Group((one,), (reading,))], model.positions), visual) for one in encoded]
    torch.testing.assert_close(together, torch.cat(alone), atol=tools.TOLERANCE, rtol=0)


class _Swapped:
    """Positions with rows and columns exchanged."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def ids(self, spans: Any, start: float = 0) -> tuple[Tensor, float]:
        ids, after = self._part.ids(spans, start)
        return ids[[0, 2, 1]], after


def _swap_positions(model: VideoLM) -> None:
    model.positions = _Swapped(model.positions)


def _merge_down_first(model: VideoLM) -> None:
    right = model.connector._merged
    model.connector._merged = lambda x, grid: (
        right(x, grid).unflatten(-1, (2, 2, -1)).transpose(-3, -2).flatten(-3)
    )


def _no_duplicate(model: VideoLM) -> None:
    right = model.tower._see

    def see(slices: Tensor, grid: Any) -> Tensor:
        lone = torch.cat([slices[:, :1], torch.zeros_like(slices[:, 1:])], dim=1)
        return right(lone, grid)

    model.tower._see = see


def _compat(model: VideoLM) -> None:
    model.positions = type(model.positions)(model.positions.Config(compat="published"))


@pytest.mark.parametrize(
    ("mistake", "clips"),
    [
        (_swap_positions, [STILL]),
        (_merge_down_first, [STILL]),
        (_no_duplicate, [STILL]),
        (_compat, [LONG]),
    ],
)
def test_a_mistake_breaks_parity(
    oracle: Any, model: VideoLM, mistake: Callable[[VideoLM], None], clips: list[Tensor]
) -> None:
    theirs = expected(oracle, model, [clips])
    mistake(model)
    assert (tools.our_logits(model, [clips]) - theirs).abs().max() > 100 * tools.TOLERANCE


@pytest.mark.parametrize("clips", [[LONG], [STILL, VIDEO]], ids=["long video", "image and video"])
def test_compat_gives_what_transformers_computes_by_itself(
    oracle: Any, model: VideoLM, clips: list[Tensor]
) -> None:
    _compat(model)
    conversation = Theirs(oracle, model, clips, tools.AFTER)
    with torch.no_grad():
        theirs = oracle(
            input_ids=torch.tensor([conversation.ids]),
            mm_token_type_ids=torch.tensor([conversation.kinds]),
            **conversation.given,
        ).logits
    ours = tools.our_logits(model, [clips])
    torch.testing.assert_close(ours, tools.at_after(theirs), atol=tools.TOLERANCE, rtol=0)


def test_greedy_words_equal_transformers_in_a_batch_of_mixed_lengths(oracle: Any, model: VideoLM) -> None:
    rows = [([LONG, STILL], [7, 8, 9]), ([VIDEO], [11]), ([OTHER], [20, 21, 22, 23, 24])]
    groups, visual = [], []
    for clips, words in rows:
        readings, tokens = tools.visual_tokens(model, clips)
        prefix: list[Any] = [tuple(tools.BEFORE), 0]
        for index in range(1, len(clips)):
            prefix += [tuple(tools.BETWEEN), index]
        groups.append(Group((Encoded(tuple(prefix), tuple(words), (False,) * len(words)),), tuple(readings)))
        visual.append(tokens)
    answers = generate(model, groups, visual, (), Decoding(max_new_tokens=32))
    for (clips, words), (answer,) in zip(rows, answers, strict=True):
        assert list(answer.ids) == Theirs(oracle, model, clips, words).write(32)
        assert len(set(answer.ids)) > 3


def bytes_tokenizer() -> PreTrainedTokenizerFast:
    """A token for every byte, and one for each of the special marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")


def test_captions_a_clip_as_the_original_would(tmp_path: Path) -> None:
    tokenizer = bytes_tokenizer()
    pads = dict(zip(("image_token_id", "video_token_id"), (260, 261), strict=True))
    oracle = oracle_of(vocabulary=len(tokenizer), **pads)
    folder = save(oracle, tmp_path / "model")
    tokenizer.save_pretrained(folder)
    (tmp_path / "clips").mkdir()
    write_mp4(tmp_path / "clips" / "a.mp4", tools.film(9, 48, 80).numpy(), 3)
    engine = load(folder)
    frames = decode(Clip("a", tmp_path / "clips" / "a.mp4"), engine.model.blueprint.frames)
    assert len(frames) == 6  # two for each of three seconds
    before = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    after = "<|vision_end|>What happens?<|im_end|>\n<|im_start|>assistant\n"
    theirs = Theirs(
        oracle,
        engine.model,
        [torch.from_numpy(frames.pixels)],
        tokenizer(after).input_ids,
        tokenizer(before).input_ids,
    )
    written = theirs.write(24)
    if tokenizer.eos_token_id in written:
        written = written[: written.index(tokenizer.eos_token_id)]
    expected = tokenizer.decode(written, skip_special_tokens=True).strip()
    assert len(expected) > 3
    out = tmp_path / "captions.jsonl"
    asked = ["--model", str(folder), "--out", str(out), "--prompt", "What happens?", "--max-tokens", "24"]
    result = CliRunner().invoke(app, ["caption", str(tmp_path / "clips"), *asked, "--workers", "0"])
    assert result.exit_code == 0, result.output
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert row["caption"] == expected


def in_memory(key: str) -> str:
    if key.startswith("visual."):
        return f"model.{key}"
    return key.replace("model.", "model.language_model.", 1)


@pytest.mark.parametrize("tied", [False, True])
def test_every_layout_gives_the_same_model(tmp_path: Path, tied: bool) -> None:
    folder = save(oracle_of(tie_word_embeddings=tied), tmp_path / "hub")
    state = load_file(folder / "model.safetensors")
    assert ("lm_head.weight" in state) != tied
    first, _, report = open_checkpoint(folder)
    embedding = first.language.get_input_embeddings().weight
    assert (first.language.get_output_embeddings().weight is embedding) == tied
    other = shutil.copytree(folder, tmp_path / "memory")
    (other / "model.safetensors").unlink()
    save_file({in_memory(key): x for key, x in state.items()}, other / "model.safetensors")
    second, _, again = open_checkpoint(other)
    assert again.matched == report.matched
    assert again.fingerprint == report.fingerprint
    assert torch.equal(tools.our_logits(first, [[VIDEO]]), tools.our_logits(second, [[VIDEO]]))


def test_a_trained_model_goes_back_to_transformers(model: VideoLM, folder: Path, tmp_path: Path) -> None:
    with torch.no_grad():
        model.connector.mlp[0].bias += 0.5
        model.tower.net.blocks[0].mlp.fc1.bias += 0.5
    save_file(qwen2_vl.to_hub(model.state_dict()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    back, info = Qwen2VLForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    theirs = expected(back.eval(), model, [[VIDEO]])
    torch.testing.assert_close(tools.our_logits(model, [[VIDEO]]), theirs, atol=tools.TOLERANCE, rtol=0)


RELEASED = {
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "vision_start_token_id": 151652,
    "vision_end_token_id": 151653,
    "vision_token_id": 151654,
    "image_token_id": 151655,
    "video_token_id": 151656,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "initializer_range": 0.02,
    "intermediate_size": 8960,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "model_type": "qwen2_vl",
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vision_config": {
        "depth": 32,
        "embed_dim": 1280,
        "mlp_ratio": 4,
        "num_heads": 16,
        "in_chans": 3,
        "hidden_size": 1536,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "spatial_patch_size": 14,
        "temporal_patch_size": 2,
    },
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "vocab_size": 151936,
}
"""The configuration of the 2B model as released in 2024: the text model flat, no types, no processors."""


def test_the_released_configuration_is_understood(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"min_pixels": 3136, "max_pixels": 12845056, "image_mean": MEAN, "image_std": STD})
    )
    blueprint = qwen2_vl.blueprint(RELEASED, tmp_path)
    assert Blueprint.model_validate_json(blueprint.model_dump_json())
    with parameters_on_meta():
        model = VideoLM(blueprint)
    assert model.language.config.rope_parameters["mrope_section"] == [16, 24, 24]
    assert model.language.config.rope_parameters["rope_theta"] == 1e6
    assert sum(p.numel() for p in model.parameters()) == 2_208_985_600
    assert model.plan((1080, 1920), 1)[1][0][0].cells == 39 * 69
    grid, _ = model.plan((1080, 1920), 61)[1][0]
    assert (grid.t, grid.h * grid.w <= 768) == (31, True)


def test_another_vision_model_is_refused(tmp_path: Path) -> None:
    wrong = {**RELEASED, "vision_config": {"model_type": "siglip_vision_model"}}
    with pytest.raises(CheckpointError, match="siglip_vision_model"):
        qwen2_vl.blueprint(wrong, tmp_path)
