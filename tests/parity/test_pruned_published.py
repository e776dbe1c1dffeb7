"""Published architectures read fewer tokens as if the others were there, hidden from the language model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyres_tools as anyres
import internvl_tools as internvl
import parity_tools as tools
import pytest
import qwen_tools as qwen
import torch
from pruning_tools import hidden

from vidapt.hub import open_checkpoint
from vidapt.models.decoding import Decoding
from vidapt.models.generate import generate
from vidapt.models.packed import Group, pack, spell
from vidapt.models.text import Encoded
from vidapt.nouns import SparseGrid
from vidapt.recipe import Reads


def _next_video(folder: Path) -> Path:
    return anyres.save(anyres.next_video_model(), anyres.next_processor(), folder)


def _internvl(folder: Path) -> Path:
    return internvl.save(internvl.oracle_of(), folder)


def _qwen(family: str) -> Callable[[Path], Path]:
    return lambda folder: qwen.save(family, qwen.oracle_of(family), folder)


SAVED = {
    "llava_next_video": _next_video,
    "internvl": _internvl,
    "qwen2_5_vl": _qwen("qwen2_5_vl"),
    "qwen3_vl": _qwen("qwen3_vl"),
}
CLIP = tools.film(6, 40, 48, seed=2)


@pytest.fixture(scope="module", params=SAVED)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SAVED[request.param](tmp_path_factory.mktemp(request.param))


def opened(folder: Path, **prune: float) -> tuple[Any, Any]:
    model, words = open_checkpoint(folder)[:2]
    if prune:
        model.read_otherwise(Reads(scenes={"video": {**model.blueprint.scenes["video"], "prune": prune}}))
    return model, words


@pytest.mark.parametrize("prune", [{"keep": 0.5}, {"threshold": 0.05}], ids=str)
def test_what_is_left_out_is_as_if_it_were_hidden(folder: Path, prune: dict[str, float]) -> None:
    whole, words = opened(folder)
    model, _ = opened(folder, **prune)
    when = qwen.moments_of(CLIP)
    views = model.cut(CLIP, moments=when)
    (layout,) = model.layouts(views)
    grids = [piece[0] for piece in layout if isinstance(piece, tuple)]
    (kept,) = views.kept
    assert all(isinstance(grid, SparseGrid) for grid in grids)
    assert 0 < sum(grid.cells for grid in grids) < sum(grid.whole.cells for grid in grids)
    reading = spell(layout, 0, words, when)
    # The first word is told by the clip's last token, which may be another one.
    learned = (False, *(True,) * (len(tools.AFTER) - 1))
    sample = Encoded((tuple(tools.BEFORE), 0), tuple(tools.AFTER), learned)
    visual = model.visual([model.see_views(views)])
    with torch.no_grad():
        found = model(pack([Group((sample,), (reading,))], model.positions), visual)
    expected = hidden(whole, CLIP, kept, sample, words, when)
    torch.testing.assert_close(found, expected, atol=tools.TOLERANCE, rtol=0)
    assert (found - hidden(whole, CLIP, tuple(range(10**4)), sample, words, when)).abs().max() > 0.01
    # Written token by token it is the same: the likeliest word behind the question.
    asked = Encoded(sample.prefix, sample.ids, (False,) * len(sample.ids))
    ((answer,),) = generate(model, [Group((asked,), (reading,))], [visual], [], Decoding(max_new_tokens=1))
    closing = Encoded(sample.prefix, (*sample.ids, 0), (*(False,) * len(sample.ids), True))
    assert answer.ids == (int(hidden(whole, CLIP, kept, closing, words, when)[0].argmax()),)


def test_clips_of_one_plan_differ_in_what_is_read(folder: Path) -> None:
    model, _ = opened(folder, keep=0.5)
    when = qwen.moments_of(CLIP)
    other = CLIP.flip(2)
    both = [model.see_views(model.cut(clip, moments=when)) for clip in (CLIP, other)]
    assert both[0].kept != both[1].kept
    assert len(both[0].kept[0]) == len(both[1].kept[0])
    planned = model.plan((CLIP.shape[1], CLIP.shape[2]), len(CLIP))[1]
    assert sum(p[0].cells + p[1] for p in planned if isinstance(p, tuple)) == len(both[0].kept[0])
