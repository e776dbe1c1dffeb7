"""Our PLLaVA against its equations, written plainly in float64 (no published port of it exists)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyres_tools
import parity_tools as tools
import pllava_tools
import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError
from vidapt.hub import open_checkpoint, pllava
from vidapt.recipe import Blueprint
from vidapt.video import write_mp4

RANK, SHAPE = 4, (3, 2, 3)
BASE = "llava-hf/llava-v1.6-vicuna-7b-hf"
TARGETS = ("q_proj", "v_proj")

Adapters = dict[str, tuple[Tensor, Tensor]]
"""For each adapted layer its A [rank, in] and B [out, rank]."""


@pytest.fixture(scope="module")
def oracle() -> LlavaForConditionalGeneration:
    return tools.llava()


@pytest.fixture(scope="module")
def adapters(oracle: LlavaForConditionalGeneration) -> Adapters:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.2

    return {
        name: (draw(RANK, layer.in_features), draw(layer.out_features, RANK))
        for name, layer in oracle.model.language_model.named_modules()
        if name.rpartition(".")[2] in TARGETS
    }


@pytest.fixture(scope="module")
def folder(
    oracle: LlavaForConditionalGeneration,
    adapters: Adapters,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A checkpoint as the authors' training writes it: wrapped by peft, adapters beside the base weights."""
    path = tmp_path_factory.mktemp("pllava-7b")
    told = pllava_tools.configuration(SHAPE, 6, pllava_tools.VICUNA, BASE, image=32000)
    (path / "config.json").write_text(json.dumps(told, indent=2))
    pllava_tools.add_processor(path)
    pllava_tools.write_shards(path, wrapped(oracle, adapters))
    return path


def wrapped(oracle: LlavaForConditionalGeneration, adapters: Adapters) -> dict[str, Tensor]:
    """All weights by the authors' names."""
    return {authors_key(k, adapters): t for k, t in oracle.state_dict().items()} | named(adapters)


def named(adapters: Adapters) -> dict[str, Tensor]:
    """The adapters by the authors' names."""
    place = "language_model.base_model.model.model"
    return {
        f"{place}.{layer}.lora_{side}.default.weight": tensor
        for layer, pair in adapters.items()
        for side, tensor in zip("AB", pair, strict=True)
    }


def authors_key(key: str, adapters: dict[str, Any]) -> str:
    """The name that a tensor of transformers' LLaVA has in the authors' files."""
    key = key.removeprefix("model.")
    if key.startswith("vision_tower."):
        return key.replace("vision_tower.", "vision_tower.vision_model.", 1)
    if key.startswith("lm_head."):
        return f"language_model.base_model.model.{key}"
    if key.startswith("language_model."):
        name = key.removeprefix("language_model.")
        layer, _, last = name.rpartition(".")
        wrapped = f"{layer}.base_layer.{last}" if layer in adapters else name
        return f"language_model.base_model.model.model.{wrapped}"
    return key


@torch.no_grad()
def equations(
    oracle: LlavaForConditionalGeneration,
    adapters: Adapters,
    clips: Sequence[Tensor],
    scale: float,
) -> Tensor:
    """Logits that predict `AFTER`, from clips of frames [T, side, side, 3], in float64."""
    model = adapted(oracle, adapters, scale)
    return tools.at_after(
        model.lm_head(
            model.model.language_model(inputs_embeds=sequence(model, clips, tools.AFTER)).last_hidden_state
        )
    )


@torch.no_grad()
def adapted(
    oracle: LlavaForConditionalGeneration, adapters: Adapters, scale: float
) -> LlavaForConditionalGeneration:
    """The original in float64 with its adapters merged."""
    model = tools.llava().double().eval()
    model.load_state_dict(oracle.state_dict())
    for name, (a, b) in adapters.items():
        model.model.language_model.get_submodule(name).weight += scale * b.double() @ a.double()
    return model


@torch.no_grad()
def sequence(model: LlavaForConditionalGeneration, clips: Sequence[Tensor], after: Sequence[int]) -> Tensor:
    """[1, L, D] embeddings: words before, the clips' tokens, words after."""
    words = model.get_input_embeddings()
    pieces = [words(torch.tensor(tools.BEFORE))]
    for index, frames in enumerate(clips):
        pieces += [words(torch.tensor(tools.BETWEEN))] if index else []
        pieces.append(pooled(model, frames))
    return torch.cat([*pieces, words(torch.tensor(list(after)))])[None]


def pooled(model: LlavaForConditionalGeneration, frames: Tensor) -> Tensor:
    """The tokens of one clip: every frame through tower and projector, then means over the bins.

    Frames are [T, side, side, 3], or [T, 3, side, side] as the processor makes them.
    """
    pixels = (frames if frames.is_floating_point() else tools.their_pixels(frames)).double()
    seen = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    one, two = model.model.multi_modal_projector.linear_1, model.model.multi_modal_projector.linear_2
    hidden = seen @ one.weight.T + one.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    cells = (hidden @ two.weight.T + two.bias).unflatten(1, (tools.CELLS, tools.CELLS))
    t, h, w = SHAPE
    return torch.stack(
        [
            cells[in_time, row][:, :, column].mean((0, 1, 2))
            for in_time in (bin_of(i, t, len(frames)) for i in range(t))
            for row in (bin_of(j, h, tools.CELLS) for j in range(h))
            for column in (bin_of(k, w, tools.CELLS) for k in range(w))
        ]
    )


def bin_of(index: int, bins: int, size: int) -> slice:
    return slice(index * size // bins, -(-(index + 1) * size // bins))


CLIP = tools.film(7, 90, 160)


def test_logits_equal_the_equations_at_the_published_alpha(
    folder: Path, oracle: LlavaForConditionalGeneration, adapters: Adapters
) -> None:
    model, _, report = open_checkpoint(folder)
    assert model.blueprint.adapters is not None
    assert model.blueprint.adapters.rank == RANK
    assert model.blueprint.adapters.targets == TARGETS
    assert not report.ignored
    expected = equations(oracle, adapters, [tools.cut(model, CLIP)], scale=4 / RANK)
    torch.testing.assert_close(
        tools.our_logits(model, [[CLIP]]).double(), expected, atol=tools.TOLERANCE, rtol=0
    )


@pytest.mark.parametrize("alpha", [0.0, 20.0, 32.0])
def test_alpha_can_be_changed_when_opening(
    folder: Path,
    oracle: LlavaForConditionalGeneration,
    adapters: Adapters,
    alpha: float,
) -> None:
    model, _, _ = open_checkpoint(folder, edit=lambda blueprint: pllava.with_alpha(blueprint, alpha))
    ours = tools.our_logits(model, [[CLIP]]).double()
    frames = tools.cut(model, CLIP)
    expected = equations(oracle, adapters, [frames], scale=alpha / RANK)
    torch.testing.assert_close(ours, expected, atol=tools.TOLERANCE, rtol=0)
    published = equations(oracle, adapters, [frames], scale=4 / RANK)
    assert (ours - published).abs().max() > 100 * tools.TOLERANCE


@pytest.mark.parametrize(
    "mistake",
    [{"order": "pool_first"}, {"shape": (3, 3, 2)}, {"pool": "none", "shape": None}],
    ids=["pooling first", "axes swapped", "another pooling"],
)
def test_a_mistake_breaks_parity(
    folder: Path,
    oracle: LlavaForConditionalGeneration,
    adapters: Adapters,
    mistake: dict[str, Any],
) -> None:
    def edit(blueprint: Blueprint) -> Blueprint:
        return blueprint.model_copy(update={"connector": {**blueprint.connector, **mistake}})

    model, _, _ = open_checkpoint(folder, edit=edit)
    expected = equations(oracle, adapters, [tools.cut(model, CLIP)], scale=4 / RANK)
    difference = (tools.our_logits(model, [[CLIP]]).double() - expected).abs().max()
    assert difference > 100 * tools.TOLERANCE


def test_every_clip_becomes_the_same_number_of_tokens(folder: Path) -> None:
    model, _, _ = open_checkpoint(folder)
    spans = {model.plan((90, 160), frames)[1] for frames in (1, 3, 16)}
    assert [grid.cells + extra for ((grid, extra),) in spans] == [3 * 2 * 3]


def test_writing_gives_the_authors_names_back(
    folder: Path, oracle: LlavaForConditionalGeneration, adapters: Adapters
) -> None:
    model, _, _ = open_checkpoint(folder)
    written = pllava.to_hub(model.state_dict())
    read = wrapped(oracle, adapters)
    assert written.keys() == read.keys()
    assert all(torch.equal(written[key], read[key]) for key in read)


def test_a_checkpoint_without_adapters_opens_and_refuses_an_alpha(
    folder: Path, oracle: LlavaForConditionalGeneration, tmp_path: Path
) -> None:
    tools.save(oracle, tmp_path)
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    model, _, _ = open_checkpoint(tmp_path)
    assert model.blueprint.adapters is None
    frames = tools.cut(model, CLIP)
    expected = equations(oracle, {}, [frames], scale=0)
    torch.testing.assert_close(
        tools.our_logits(model, [[CLIP]]).double(), expected, atol=tools.TOLERANCE, rtol=0
    )
    with pytest.raises(CheckpointError, match="no adapters"):
        pllava.with_alpha(model.blueprint, 4)


STILL, OTHER = tools.film(1, 61, 47, seed=2), tools.film(1, 40, 90, seed=3)
CONVERSATIONS = {
    "image": [STILL],
    "several images": [STILL, OTHER, tools.film(1, 28, 28, seed=4)],
    "video": [CLIP],
    "image and videos": [STILL, CLIP, tools.film(3, 33, 44, seed=5)],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_equal_the_equations(
    folder: Path, oracle: LlavaForConditionalGeneration, adapters: Adapters, name: str
) -> None:
    model, _, _ = open_checkpoint(folder)
    clips = CONVERSATIONS[name]
    expected = equations(oracle, adapters, [tools.cut(model, clip) for clip in clips], scale=4 / RANK)
    ours = tools.our_logits(model, [clips]).double()
    torch.testing.assert_close(ours, expected, atol=tools.TOLERANCE, rtol=0)


def test_pictures_of_a_batch_do_not_mix_as_the_originals_do(
    folder: Path, oracle: LlavaForConditionalGeneration, adapters: Adapters
) -> None:
    """The original pools the pictures of a batch as if they were frames of one clip."""
    model, _, _ = open_checkpoint(folder)
    rows = [[STILL], [OTHER]]
    cut = [[tools.cut(model, clip) for clip in clips] for clips in rows]
    expected = torch.cat([equations(oracle, adapters, clips, scale=4 / RANK) for clips in cut])
    ours = tools.our_logits(model, rows).double()
    torch.testing.assert_close(ours, expected, atol=tools.TOLERANCE, rtol=0)
    mixed = equations(oracle, adapters, [torch.cat([frames for (frames,) in cut])], scale=4 / RANK)
    assert (ours - mixed).abs().max() > 100 * tools.TOLERANCE


def test_greedy_words_equal_transformers_in_a_batch_of_mixed_lengths(
    folder: Path, oracle: LlavaForConditionalGeneration, adapters: Adapters
) -> None:
    model, _, _ = open_checkpoint(folder)
    rows = [([STILL, CLIP], [7, 8, 9]), ([CLIP], [11]), ([OTHER], [20, 21, 22, 23])]
    written_in_all: set[int] = set()
    theirs = adapted(oracle, adapters, 4 / RANK)
    for (clips, words), ours in zip(rows, anyres_tools.our_words(model, rows), strict=True):
        given = sequence(theirs, [tools.cut(model, clip) for clip in clips], words)
        with torch.no_grad():
            written = theirs.generate(
                inputs_embeds=given,
                attention_mask=torch.ones(given.shape[:2], dtype=torch.long),
                do_sample=False,
                max_new_tokens=32,
                min_new_tokens=32,
                pad_token_id=0,
            )
        assert ours == written[0].tolist()
        written_in_all |= set(ours)
    assert len(written_in_all) > 5, "one repeated word would prove little"


def test_a_folder_in_the_authors_layout_captions_a_clip(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_mp4(tmp_path / "clips" / "one.mp4", tools.film(6, 64, 96).numpy(), 3)
    out = tmp_path / "captions.jsonl"
    options = ["--model", str(folder), "--out", str(out), "--max-tokens", "4", "--workers", "0"]
    shown = CliRunner().invoke(app, ["caption", str(tmp_path / "clips"), *options])
    assert shown.exit_code == 0, shown.output
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert row["visual_tokens"] == SHAPE[0] * SHAPE[1] * SHAPE[2]
