"""Our Mini-Gemini against its equations, written plainly in float64, from files in the authors' layout."""

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
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaForCausalLM
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.connectors import patch_mining
from vidapt.errors import CheckpointError
from vidapt.hub import mini_gemini, open_checkpoint
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint
from vidapt.towers.frame_vit import CLIP_MEAN, CLIP_STD
from vidapt.video.write import write_mp4

LOW, PATCH, CELLS, COARSE, WORDS = 12, 4, 3, 64, 32
"""Pixels of CLIP's side and patch, its cells a side, its width, the language model's width."""

WIDTHS, DEPTHS = (6, 8, 10, 12), (1, 2, 1, 1)
FINE = sum(WIDTHS)
AUX = "model.vision_tower_aux."

# name: (fine side, tiles per side)
VARIANTS = {"plain": (48, 1), "hd": (96, 2)}


class Original:
    """Weights by the authors' names, and the equations."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.clip = tools.shake(CLIPVisionModel(clip_config()))
        self.language = tools.shake(LlamaForCausalLM(two.text_config()))
        generator = torch.Generator().manual_seed(5)

        def pair(name: str, *shape: int, around: float = 0.0) -> dict[str, Tensor]:
            weight = around + torch.randn(*shape, generator=generator) * (
                0.3 if around else shape[-1] ** -0.5
            )
            return {
                f"{name}.weight": weight,
                f"{name}.bias": torch.randn(shape[0], generator=generator) * 0.2,
            }

        self.joint: dict[str, Tensor] = {}
        for kind, width in (("query", COARSE), ("aux", FINE), ("val", FINE)):
            name = f"model.vlm_uni_{kind}_projector"
            # Keys large enough for the softmax to choose.
            self.joint |= pair(f"{name}.0", width, around=2.0) | pair(f"{name}.1", COARSE, width)
        self.joint |= pair("model.mm_projector.0", WORDS, COARSE) | pair("model.mm_projector.2", WORDS, WORDS)
        self.aux = two.timm_convnext(WIDTHS, DEPTHS, AUX)
        self.exact = two.doubled(self.joint | self.aux)
        self.clip64 = CLIPVisionModel(clip_config()).double().eval()
        self.clip64.load_state_dict(self.clip.state_dict())
        self.language64 = LlamaForCausalLM(two.text_config()).double().eval()
        self.language64.load_state_dict(self.language.state_dict())

    def state(self) -> dict[str, Tensor]:
        vision = {
            f"model.vision_tower.vision_tower.vision_model.{key.removeprefix('vision_model.')}": tensor
            for key, tensor in self.clip.state_dict().items()
        }
        state = {**vision, **self.aux, **self.joint, **self.language.state_dict()}
        return {key: tensor.contiguous().clone() for key, tensor in state.items()}

    @torch.no_grad()
    def tokens(self, fine: Tensor, grid: int) -> Tensor:
        """[calls * 9, D] of one frame, from its fine picture [S, S, 3] in 0..255."""
        picture = (fine.double() / 255 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
        cells = two.convnext(picture, self.exact, AUX)
        shrunk = two.bilinear(picture, LOW * grid, LOW * grid)
        pairs = []
        if grid > 1:
            side = cells.shape[0] // grid
            pairs.append((two.bilinear(shrunk, LOW, LOW), two.bilinear(cells, side, side)))
        places = [(row, column) for row in range(grid) for column in range(grid)]
        pairs += [(_tile(shrunk, grid, *place), _tile(cells, grid, *place)) for place in places]
        return torch.cat([self._mine(low, high) for low, high in pairs])

    def _mine(self, low: Tensor, high: Tensor) -> Tensor:
        """Every cell of the low picture by itself."""
        states = self.clip64(low.permute(2, 0, 1)[None].double(), output_hidden_states=True).hidden_states
        queries = states[-2][0, 1:]
        inside = high.shape[0] // CELLS
        made = []
        for index, x in enumerate(queries):
            row, column = divmod(index, CELLS)
            h = high[row * inside : (row + 1) * inside, column * inside : (column + 1) * inside].flatten(0, 1)
            q, k, v = (
                two.linear(two.norm(y, self.exact, f"{name}.0"), self.exact, f"{name}.1")
                for y, name in (
                    (x, "model.vlm_uni_query_projector"),
                    (h, "model.vlm_uni_aux_projector"),
                    (h, "model.vlm_uni_val_projector"),
                )
            )
            weights = torch.softmax((k @ q) / COARSE**0.5, dim=0)
            made.append(two.mlp(x + weights @ v, self.exact, "model.mm_projector"))
        return torch.stack(made)


def _tile(x: Tensor, grid: int, row: int, column: int) -> Tensor:
    side = x.shape[0] // grid
    return x[row * side : (row + 1) * side, column * side : (column + 1) * side]


def clip_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=COARSE,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=1,
        image_size=LOW,
        patch_size=PATCH,
        initializer_range=0.1,
    )


@pytest.fixture(scope="module")
def original() -> Original:
    return Original()


def write(original: Original, path: Path, variant: str, **changes: Any) -> Path:
    """A folder as the authors publish it: the language model's configuration with fields of their own."""
    fine, grid = VARIANTS[variant]
    config = two.text_config().to_dict() | {
        "model_type": "mini_gemini",
        "architectures": ["MiniGeminiLlamaForCausalLM"],
        "mm_vision_tower": "model_zoo/OpenAI/clip-vit-large-patch14-336",
        "mm_vision_tower_aux": "model_zoo/OpenAI/openclip-convnext-large-d-320-laion2B-s29B-b131K-ft-soup",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_hidden_size": COARSE,
        "mm_hidden_size_aux": FINE,
        "mm_use_im_start_end": False,
        "image_aspect_ratio": "pad",
        "image_size_aux": fine,
        "image_grid": grid,
        "image_global": grid > 1,
    }
    tools.add_processors(path)
    (path / "config.json").write_text(json.dumps(config | changes))
    save_file(original.state(), path / "model.safetensors")
    return path


@pytest.fixture(scope="module", params=VARIANTS)
def opened(
    request: pytest.FixtureRequest, original: Original, tmp_path_factory: pytest.TempPathFactory
) -> tuple[VideoLM, Path]:
    path = write(original, tmp_path_factory.mktemp(request.param), request.param)
    model, _, report = open_checkpoint(path)
    assert not report.ignored
    return model, path


def original_tokens(model: VideoLM, original: Original) -> Callable[..., Tensor]:
    """A clip's tokens by the equations, from the fine picture that our `pad` prepares (tested by itself)."""

    def tokens(clip: Tensor, together: int = 1) -> Tensor:
        fine = model.cut(clip, together).tensors[-1][0].permute(0, 2, 3, 1)
        return torch.cat([original.tokens(frame, model.resolution.cfg.grid) for frame in fine])

    return tokens


IMAGE, OTHER, WIDE = tools.film(1, 90, 160), tools.film(1, 64, 50, seed=1), tools.film(1, 20, 200, seed=2)
VIDEO = tools.film(3, 70, 90, seed=3)
ROWS = {
    "image": [[IMAGE]],
    "several images": [[IMAGE, OTHER, WIDE]],
    "video": [[VIDEO]],
    "mixed batch": [[IMAGE], [OTHER, WIDE], [VIDEO], [VIDEO, IMAGE]],
}


@pytest.mark.parametrize("name", ROWS)
def test_logits_equal_the_equations(opened: tuple[VideoLM, Path], original: Original, name: str) -> None:
    model, _ = opened
    difference = two.compare(model, original.language64, ROWS[name], original_tokens(model, original))
    assert difference <= tools.TOLERANCE


def test_greedy_answers_equal_those_of_transformers(opened: tuple[VideoLM, Path], original: Original) -> None:
    model, _ = opened
    make = original_tokens(model, original)
    clips = [IMAGE, VIDEO, WIDE]
    expected = [two.their_answer(original.language, make(clip).float()) for clip in clips]
    assert two.our_answers(model, clips) == expected
    assert all(len(set(answer)) > 3 for answer in expected), "one repeated word would prove little"


def _swapped(model: VideoLM) -> None:
    """Keys and values change places."""
    model.connector.key, model.connector.value = model.connector.value, model.connector.key


def _no_residual(model: VideoLM) -> None:
    mine = model.connector._mine
    model.connector._mine = lambda x, maps, across: mine(torch.zeros_like(x), maps, across)


def _columns_first(model: VideoLM) -> None:
    """The tiles of the fine map are taken column by column."""
    stitch = model.resolution.stitch

    def turned(features: Any, plan: Any) -> Any:
        pairs = stitch(features, plan)
        return [(low, type(high)(high.x.transpose(2, 3))) for low, high in pairs]

    model.resolution.stitch = turned


def _reversed_views(model: VideoLM) -> None:
    """The overview comes last, or the frames run backwards."""
    arrange = model.resolution.arrange
    model.resolution.arrange = lambda tokens, plan: [
        type(piece)(piece.x.flip(1), piece.grid) for piece in arrange(tokens, plan)
    ]


@pytest.mark.parametrize("mistake", [_swapped, _no_residual, _columns_first, _reversed_views])
def test_a_mistake_in_the_joining_breaks_parity(
    opened: tuple[VideoLM, Path], original: Original, mistake: Callable[[VideoLM], None]
) -> None:
    model, _, _ = open_checkpoint(opened[1])
    make = original_tokens(model, original)
    mistake(model)
    assert two.compare(model, original.language64, [[IMAGE]], make) > 100 * tools.TOLERANCE


def test_the_wrong_neighbours_break_parity(
    opened: tuple[VideoLM, Path], original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query that asks every third cell instead of those inside it."""
    model, _ = opened

    def scattered(maps: Tensor, across: tuple[int, int]) -> Tensor:
        a, b = across
        n, height, width, channels = maps.shape
        strided = maps.reshape(n, a, height // a, b, width // b, channels)
        return strided.permute(0, 2, 4, 1, 3, 5).flatten(3, 4)

    monkeypatch.setattr(patch_mining, "_cut", scattered)
    make = original_tokens(model, original)
    assert two.compare(model, original.language64, [[IMAGE]], make) > 100 * tools.TOLERANCE


def _layer(blueprint: Blueprint) -> Blueprint:
    coarse, fine = blueprint.towers
    return blueprint.model_copy(update={"towers": ({**coarse, "layer": -1}, fine)})


def _normalised_otherwise(blueprint: Blueprint) -> Blueprint:
    coarse, fine = blueprint.towers
    return blueprint.model_copy(update={"towers": (coarse, {**fine, "mean": (0.5,) * 3, "std": (0.5,) * 3})})


@pytest.mark.parametrize("mistake", [_layer, _normalised_otherwise])
def test_a_mistake_in_a_tower_breaks_parity(
    opened: tuple[VideoLM, Path], original: Original, mistake: Callable[[Blueprint], Blueprint]
) -> None:
    model, _, _ = open_checkpoint(opened[1], edit=mistake)
    make = original_tokens(model, original)
    assert two.compare(model, original.language64, [[IMAGE]], make) > 100 * tools.TOLERANCE


@given(size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)), frames=st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_every_frame_becomes_the_same_number_of_tokens(
    opened: tuple[VideoLM, Path], size: tuple[int, int], frames: int
) -> None:
    model, _ = opened
    ((grid, extra),) = model.plan(size, frames)[1]
    views = 1 if model.resolution.cfg.grid == 1 else 5
    assert (grid.t, grid.cells, extra) == (frames, frames * views * CELLS**2, 0)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (7, 500), (48, 48)])
@pytest.mark.parametrize("frames", [1, 2])
def test_the_plan_is_kept(opened: tuple[VideoLM, Path], size: tuple[int, int], frames: int) -> None:
    model, _ = opened
    clip = torch.randint(0, 256, (frames, *size, 3), dtype=torch.uint8)
    (span,) = model.plan(size, frames)[1]
    with torch.no_grad():
        (piece,) = model.read(model.see_views(model.cut(clip)))
    assert not isinstance(piece, str)
    assert (piece.grid, piece.extra) == span
    assert piece.x.shape == (1, span[0].cells, WORDS)


def test_writing_gives_the_authors_files_back(opened: tuple[VideoLM, Path]) -> None:
    model, path = opened
    written, read = mini_gemini.to_hub(model.state_dict()), load_file(path / "model.safetensors")
    assert written.keys() == read.keys()
    assert all(torch.equal(written[key], read[key]) for key in read)


def test_the_later_name_opens_too(original: Original, tmp_path: Path) -> None:
    write(original, tmp_path, "plain", model_type="mgm", architectures=["MGMLlamaForCausalLM"])
    model, _, report = open_checkpoint(tmp_path)
    assert report.family == "mini_gemini"
    assert model.blueprint.prompt.opening == " ASSISTANT:"
    assert model.blueprint.resolution["fit"] == "pad"


@pytest.mark.parametrize(
    "changes",
    [
        {"mm_projector_type": "linear"},
        {"mm_vision_select_feature": "cls_patch"},
        {"mm_use_im_start_end": True},
        {"image_size_aux": 44},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_no_part_does_is_refused(original: Original, tmp_path: Path, changes: dict[str, Any]) -> None:
    write(original, tmp_path, "plain", **changes)
    # No clip could be planned: 11 fine cells in 3 coarse ones.
    said = "divide" if "image_size_aux" in changes else next(iter(changes))
    with pytest.raises(CheckpointError, match=said):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("tower", ["vision_tower_aux", "vision_tower.vision_tower"])
def test_a_folder_without_a_tower_is_refused_by_the_name_of_what_is_missing(
    original: Original, tmp_path: Path, tower: str
) -> None:
    path = write(original, tmp_path, "plain")
    state = {key: t for key, t in load_file(path / "model.safetensors").items() if f"{tower}." not in key}
    save_file(state, path / "model.safetensors")
    with pytest.raises(CheckpointError, match=tower):
        open_checkpoint(path)


def test_caption_reads_a_folder_in_the_authors_layout(original: Original, tmp_path: Path) -> None:
    for folder in ("model", "clips"):
        (tmp_path / folder).mkdir()
    path = write(original, tmp_path / "model", "hd")
    write_mp4(tmp_path / "clips" / "one.mp4", np.asarray(tools.film(6, 64, 96)), 3)
    out = tmp_path / "captions.jsonl"
    options = ["--model", str(path), "--out", str(out), "--max-tokens", "4", "--workers", "1"]
    shown = CliRunner().invoke(app, ["caption", str(tmp_path / "clips"), *options])
    assert shown.exit_code == 0, shown.output
    (row,) = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert row["caption"]
