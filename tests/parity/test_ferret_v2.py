"""Our Ferret-v2 against its equations, written plainly in float64 (nothing of it was ever published)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parity_tools as tools
import pytest
import torch
import two_tower_tools as two
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPVisionModel, Dinov2Config, Dinov2Model, LlamaForCausalLM
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError
from vidapt.hub import ferret_v2, open_checkpoint
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint
from vidapt.resolutions.global_local import GRIDS
from vidapt.towers.frame_vit import CLIP_MEAN, CLIP_STD
from vidapt.video.write import write_mp4

SIDE, CELLS, WORDS = tools.SIDE, tools.CELLS, 32
LOCAL = 24
"""DINOv2's width; its own pictures are larger than a tile, so its places are interpolated."""

IMAGENET_MEAN, IMAGENET_STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


class Original:
    """Weights by the layout's names, and the equations."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.clip = tools.shake(CLIPVisionModel(tools.vision_config()))
        self.dino = tools.shake(Dinov2Model(dino_config()))
        self.language = tools.shake(LlamaForCausalLM(two.text_config()))
        generator = torch.Generator().manual_seed(5)
        self.mlps: dict[str, Tensor] = {}
        for name, width in (("mm_projector", 16), ("local_mm_projector", LOCAL)):
            for layer, wide in (("0", width), ("2", WORDS)):
                weight = torch.randn(WORDS, wide, generator=generator) * wide**-0.5
                self.mlps[f"{name}.{layer}.weight"] = weight
                self.mlps[f"{name}.{layer}.bias"] = torch.randn(WORDS, generator=generator) * 0.2
        self.exact = two.doubled(self.mlps)
        self.clip64 = _doubled(self.clip, CLIPVisionModel(tools.vision_config()))
        self.dino64 = _doubled(self.dino, Dinov2Model(dino_config()))
        self.language64 = _doubled(self.language, LlamaForCausalLM(two.text_config()))

    def state(self) -> dict[str, Tensor]:
        parts = (
            ("vision_tower.", self.clip),
            ("local_vision_tower.", self.dino),
            ("language_model.", self.language),
        )
        state = {f"{name}{key}": t for name, part in parts for key, t in part.state_dict().items()}
        return {key: tensor.contiguous().clone() for key, tensor in {**state, **self.mlps}.items()}

    @torch.no_grad()
    def tokens(self, views: list[Tensor], rows: int, columns: int) -> Tensor:
        """[n, D] of one frame: the whole, then the tiles merged and read row by row."""
        whole, *tiles = [view.double() / 255 for view in views]
        pixels = (whole - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
        seen = self.clip64(_batch(pixels), output_hidden_states=True).hidden_states[-2][0, 1:]
        made = [two.mlp(seen, self.exact, "mm_projector")]
        maps = []
        for tile in tiles:
            pixels = (tile - IMAGENET_MEAN) / IMAGENET_STD
            maps.append(self.dino64(_batch(pixels)).last_hidden_state[0, 1:].reshape(CELLS, CELLS, -1))
        for row in range(rows * CELLS):
            for column in range(columns * CELLS):
                tile = maps[row // CELLS * columns + column // CELLS]
                cell = tile[row % CELLS, column % CELLS]
                made.append(two.mlp(cell[None], self.exact, "local_mm_projector"))
        return torch.cat(made)


def _doubled(part: Any, empty: Any) -> Any:
    exact = empty.double().eval()
    exact.load_state_dict(part.state_dict())
    return exact


def _batch(picture: Tensor) -> Tensor:
    return picture.permute(2, 0, 1)[None].double()


def dino_config() -> Dinov2Config:
    return Dinov2Config(
        hidden_size=LOCAL,
        num_hidden_layers=3,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=42,
        patch_size=SIDE // CELLS,
        initializer_range=0.1,
    )


@pytest.fixture(scope="module")
def original() -> Original:
    return Original()


def write(original: Original, path: Path, **changes: Any) -> Path:
    config = {
        "model_type": "ferret_v2",
        "architectures": ["FerretV2ForCausalLM"],
        "vision_config": tools.vision_config().to_dict(),
        "local_vision_config": dino_config().to_dict(),
        "text_config": two.text_config().to_dict(),
    }
    tools.add_processors(path)
    (path / "config.json").write_text(json.dumps(config | changes))
    save_file(original.state(), path / "model.safetensors")
    return path


@pytest.fixture(scope="module")
def folder(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(original, tmp_path_factory.mktemp("ferret"))


@pytest.fixture(scope="module")
def model(folder: Path) -> VideoLM:
    model, _, report = open_checkpoint(folder)
    assert not report.ignored
    return model


def original_tokens(model: VideoLM, original: Original) -> Callable[..., Tensor]:
    """A clip's tokens by the equations, from pictures resized by torch's filter (tested by itself)."""

    def tokens(clip: Tensor, together: int = 1) -> Tensor:
        views = [view[0].permute(0, 2, 3, 1) for view in model.cut(clip, together).tensors]
        grid = (1, 1) if len(clip) > 1 else best_grid(clip.shape[1], clip.shape[2])
        assert len(views) == 1 + grid[0] * grid[1]
        frames = [original.tokens([view[t] for view in views], *grid) for t in range(len(clip))]
        return torch.cat(frames)

    return tokens


def best_grid(height: int, width: int) -> tuple[int, int]:
    """Most pixels of the picture kept (no more than it has), then fewest of the grid's unused; first wins."""
    ranked = []
    for order, (rows, columns) in enumerate(GRIDS):
        scale = min(rows * SIDE / height, columns * SIDE / width)
        kept = min(int(width * scale) * int(height * scale), width * height)
        ranked.append((-kept, rows * columns * SIDE * SIDE - kept, order))
    return GRIDS[min(ranked)[2]]


IMAGE, OTHER, WIDE = tools.film(1, 60, 90), tools.film(1, 40, 25, seed=1), tools.film(1, 20, 150, seed=2)
VIDEO = tools.film(3, 70, 90, seed=3)
ROWS = {
    "image": [[IMAGE]],
    "several images": [[IMAGE, OTHER, WIDE]],
    "video": [[VIDEO]],
    "mixed batch": [[IMAGE], [OTHER, WIDE], [VIDEO], [VIDEO, IMAGE]],
}


def test_the_grids_are_those_of_the_paper_and_all_of_them_are_used() -> None:
    assert [best_grid(60, 90), best_grid(40, 25), best_grid(20, 150)] == [(2, 3), (2, 1), (1, 6)]
    assert set(GRIDS) == {(1, n) for n in range(1, 7)} | {(n, 1) for n in range(1, 7)} | {
        (2, 2),
        (2, 3),
        (3, 2),
    }


@pytest.mark.parametrize("name", ROWS)
def test_logits_equal_the_equations(model: VideoLM, original: Original, name: str) -> None:
    difference = two.compare(model, original.language64, ROWS[name], original_tokens(model, original))
    assert difference <= tools.TOLERANCE


def test_greedy_answers_equal_those_of_transformers(model: VideoLM, original: Original) -> None:
    make = original_tokens(model, original)
    clips = [IMAGE, VIDEO, WIDE]
    expected = [two.their_answer(original.language, make(clip).float()) for clip in clips]
    assert two.our_answers(model, clips) == expected
    assert all(len(set(answer)) > 3 for answer in expected), "one repeated word would prove little"


def _columns_first(model: VideoLM) -> None:
    """Tiles are laid out column by column."""
    stitch = model.resolution.stitch

    def turned(features: Any, plan: Any) -> Any:
        whole, *tiles = features
        rows, columns = model.resolution.grid_for(plan.size)
        order = [row * columns + column for column in range(columns) for row in range(rows)]
        return stitch([whole, *(tiles[index] for index in order)], plan)

    model.resolution.stitch = turned


def _tile_by_tile(model: VideoLM) -> None:
    """Tiles are read one after the other instead of as one map."""
    stitch = model.resolution.stitch

    def flat(features: Any, plan: Any) -> Any:
        ((whole, merged),) = stitch(features, plan)
        cells = torch.cat([tile.x.flatten(2, 3) for tile in features[1:]], dim=2)
        return [(whole, type(merged)(cells.reshape(merged.x.shape)))]

    model.resolution.stitch = flat


def _local_first(model: VideoLM) -> None:
    arrange = model.resolution.arrange
    model.resolution.arrange = lambda tokens, plan: [
        type(piece)(piece.x.roll(-(CELLS**2), 1), piece.grid) for piece in arrange(tokens, plan)
    ]


@pytest.mark.parametrize("mistake", [_columns_first, _tile_by_tile, _local_first])
def test_a_mistake_in_the_joining_breaks_parity(
    folder: Path, original: Original, mistake: Callable[[VideoLM], None]
) -> None:
    model, _, _ = open_checkpoint(folder)
    make = original_tokens(model, original)
    mistake(model)
    assert two.compare(model, original.language64, [[IMAGE]], make) > 100 * tools.TOLERANCE


@pytest.mark.parametrize(
    ("tower", "mistake"),
    [(0, {"layer": -1}), (1, {"layer": -2}), (1, {"norm": False}), (1, {"mean": CLIP_MEAN, "std": CLIP_STD})],
)
def test_a_mistake_in_a_tower_breaks_parity(
    folder: Path, original: Original, tower: int, mistake: dict[str, Any]
) -> None:
    def edit(blueprint: Blueprint) -> Blueprint:
        towers = [dict(spec) for spec in blueprint.towers]
        towers[tower] |= mistake
        return blueprint.model_copy(update={"towers": tuple(towers)})

    model, _, _ = open_checkpoint(folder, edit=edit)
    make = original_tokens(model, original)
    assert two.compare(model, original.language64, [[IMAGE]], make) > 100 * tools.TOLERANCE


@given(size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)), frames=st.integers(1, 40))
@settings(max_examples=500, deadline=None)
def test_the_plan_counts_the_tokens(model: VideoLM, size: tuple[int, int], frames: int) -> None:
    ((grid, extra),) = model.plan(size, frames)[1]
    rows, columns = (1, 1) if frames > 1 else best_grid(*size)
    assert (grid.t, grid.cells, extra) == (frames, frames * CELLS**2 * (1 + rows * columns), 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 500), (28, 28), (57, 83)])
@pytest.mark.parametrize("frames", [1, 2])
def test_the_plan_is_kept(model: VideoLM, size: tuple[int, int], frames: int) -> None:
    clip = torch.randint(0, 256, (frames, *size, 3), dtype=torch.uint8)
    (span,) = model.plan(size, frames)[1]
    with torch.no_grad():
        (piece,) = model.read(model.see_views(model.cut(clip)))
    assert not isinstance(piece, str)
    assert (piece.grid, piece.extra) == span
    assert piece.x.shape == (1, span[0].cells, WORDS)


def test_writing_gives_the_layout_back(model: VideoLM, folder: Path) -> None:
    written, read = ferret_v2.to_hub(model.state_dict()), load_file(folder / "model.safetensors")
    assert written.keys() == read.keys()
    assert all(torch.equal(written[key], read[key]) for key in read)


def test_dinov2_is_read_by_its_older_names_too(original: Original, model: VideoLM, tmp_path: Path) -> None:
    older = {
        ".attention.q_proj.": ".attention.attention.query.",
        ".attention.k_proj.": ".attention.attention.key.",
        ".attention.v_proj.": ".attention.attention.value.",
        ".attention.o_proj.": ".attention.output.dense.",
    }
    state = {}
    for key, tensor in original.state().items():
        for new, old in older.items():
            if key.startswith("local_vision_tower."):
                key = key.replace(new, old)
        state[key] = tensor
    assert state.keys() != original.state().keys()
    write(original, tmp_path)
    save_file(state, tmp_path / "model.safetensors")
    opened, _, _ = open_checkpoint(tmp_path)
    assert all(torch.equal(t, opened.state_dict()[key]) for key, t in model.state_dict().items())


def test_grids_can_be_chosen_by_the_configuration(original: Original, tmp_path: Path) -> None:
    write(original, tmp_path, image_grids=[[2, 2]])
    ((grid, _),) = open_checkpoint(tmp_path)[0].plan((20, 400), 1)[1]
    assert grid.cells == 5 * CELLS**2


def test_a_configuration_without_the_second_tower_is_refused(original: Original, tmp_path: Path) -> None:
    write(original, tmp_path, local_vision_config=None)
    with pytest.raises(CheckpointError, match="local_vision_config"):
        open_checkpoint(tmp_path)


def test_caption_reads_a_folder_in_this_layout(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    write_mp4(tmp_path / "clips" / "one.mp4", np.asarray(tools.film(6, 64, 96)), 3)
    out = tmp_path / "captions.jsonl"
    options = ["--model", str(folder), "--out", str(out), "--max-tokens", "4", "--workers", "1"]
    shown = CliRunner().invoke(app, ["caption", str(tmp_path / "clips"), *options])
    assert shown.exit_code == 0, shown.output
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert row["caption"]
