"""Visual tokens where nothing moves are left out: as many as planned, the right ones, at their places."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_tools import hidden, moving
from pydantic import ValidationError
from training_tools import tokenizer, video_lm

from vidapt.errors import ConfigError
from vidapt.models.packed import Group, numbered, pack, reading_length, spell
from vidapt.models.pruning import cell_changes, chosen, planned, sparse
from vidapt.models.text import encode
from vidapt.nouns import Clip, Grid, Sample, SparseGrid, Turn
from vidapt.parts import configure, find, kinds
from vidapt.recipe import Blueprint, Prune

WHOLE = {"kind": "whole"}
SHARES = st.floats(0.01, 1)
ALWAYS = 1e6


def pruned(resolution: dict[str, Any] = WHOLE, **how: Any) -> dict[str, Any]:
    return {**resolution, "prune": how}


@given(changes=st.lists(st.floats(0, 1), min_size=1, max_size=40), always=st.integers(1, 10), share=SHARES)
@settings(max_examples=60, deadline=None)
def test_what_is_read_is_the_first_slice_and_what_changes_most(
    changes: list[float], always: int, share: float
) -> None:
    scores = torch.tensor([ALWAYS] * always + changes)
    prune = Prune(keep=share)
    kept = chosen(scores, prune)
    assert (
        len(kept)
        == planned(scores, prune)
        == planned(torch.cat([scores[:always], torch.zeros(len(changes))]), prune)
    )
    assert len(kept) == max(always, int(share * len(scores) + 0.5))
    assert list(kept) == sorted(set(kept))
    assert set(range(always)) <= set(kept)
    left = set(range(len(scores))) - set(kept)
    assert not left or max(scores[list(left)]) <= min(scores[list(kept)])
    if len(set(changes)) == 1:  # of equal ones the first
        assert kept == tuple(range(len(kept)))


@given(changes=st.lists(st.floats(0, 1), min_size=1, max_size=40), threshold=st.floats(0, 0.99))
@settings(max_examples=40, deadline=None)
def test_a_threshold_reads_what_changes_more(changes: list[float], threshold: float) -> None:
    scores = torch.tensor([ALWAYS, *changes], dtype=torch.float64)
    prune = Prune(threshold=threshold)
    assert chosen(scores, prune) == (0, *(i for i, c in enumerate(changes, 1) if c > threshold))
    assert planned(scores, prune) == len(scores)


def test_changes_are_those_of_the_pixels_of_each_cell() -> None:
    clip = moving()
    view = clip.permute(0, 3, 1, 2)
    found = cell_changes(view, Grid(5, 4, 4))
    wide = view.float().diff(dim=0).abs().mean(1) / 255
    wanted = wide.reshape(4, 4, 4, 4, 4).mean((2, 4))
    assert torch.allclose(found[1:], wanted, atol=1e-6)
    assert not found[0].any()
    # Pairs of frames as one slice, the last of one frame: what changes up to it and within it counts.
    pairs = cell_changes(view, Grid(3, 4, 4))
    assert torch.allclose(pairs[1], wanted[1:3].mean(0), atol=1e-6)
    assert torch.allclose(pairs[2], wanted[3], atol=1e-6)


def test_keep_all_is_the_model_without_pruning_bit_for_bit() -> None:
    plain, whole = video_lm(resolution=WHOLE), video_lm(resolution=pruned(keep=1.0))
    clip = moving()
    assert plain.plan((16, 16), 5) == whole.plan((16, 16), 5)
    ids = [5, -1, 7, 8]
    assert torch.equal(plain.logits(ids, [clip]), whole.logits(ids, [clip]))
    assert whole.cut(clip).kept == ()


def test_a_still_is_read_whole() -> None:
    plain, less = video_lm(resolution=WHOLE), video_lm(resolution=pruned(keep=0.1))
    clip = moving(frames=1)
    assert plain.plan((16, 16), 1) == less.plan((16, 16), 1)
    assert torch.equal(plain.logits([5, -1, 7], [clip]), less.logits([5, -1, 7], [clip]))


@pytest.mark.parametrize("resolution", [
    WHOLE,
    {"kind": "pad"},
    {"kind": "native", "factor": 4, "min_pixels": 64, "max_pixels": 256},
    {"kind": "framed", "pool": "bilinear", "order": "connector_first", "newline": "grid"},
    {"kind": "framed", "pool": "average", "order": "pool_first", "newline": "frame"},
    {"kind": "framed", "pool": "max", "newline": "one"},
    {"kind": "tiles", "most": 4, "whole": ["<w>", "</w>"]},
])  # fmt: skip
@pytest.mark.parametrize("share", [0.05, 0.4, 0.75])
def test_as_many_are_read_as_planned_whatever_the_resolution(
    resolution: dict[str, Any], share: float
) -> None:
    model = video_lm(resolution=pruned(resolution, keep=share))
    words = tokenizer()
    clip = moving(side=16)
    layout = model.plan((16, 16), 5)[1]
    views = model.cut(clip)
    (actual,) = model.layouts(views)
    assert reading_length(spell(actual, 0, words)) == reading_length(spell(layout, 0, words))
    visual = model.visual([model.see_views(views)])
    whole = video_lm(resolution=resolution)
    total = sum(p[0].cells + p[1] for p in whole.plan((16, 16), 5)[1] if isinstance(p, tuple))
    first = model._whole_layout(views.plan, 1)
    cells = sum(p[0].cells + p[1] for p in first if isinstance(p, tuple))
    assert cells == total
    assert visual is not None
    assert len(visual) == len(views.kept[0]) <= max(int(share * total + 0.5), total)
    if share > 0.7:
        assert len(visual) == int(share * total + 0.5)
    # The rows are those of the whole clip.
    everything = whole.visual([whole.see_views(whole.cut(clip))])
    assert everything is not None
    assert torch.equal(visual, everything[list(views.kept[0])])


def test_newlines_are_always_read() -> None:
    model = video_lm(resolution=pruned({"kind": "framed", "newline": "grid"}, keep=0.01))
    (kept,) = model.cut(moving()).kept
    ends = {row * 5 + 4 for row in range(5 * 4)}
    assert set(kept) == set(range(20)) | ends


def test_only_the_first_slice_is_left_of_a_clip_that_stands_still() -> None:
    still = moving(1).repeat(6, 1, 1, 1)
    model = video_lm(resolution=pruned(threshold=0.0))
    (kept,) = model.cut(still).kept
    assert kept == tuple(range(16))
    assert len(model.cut(moving(6)).kept[0]) == 16 + 5 + 4  # each frame's own change, and that back to before
    assert model.plan((16, 16), 6)[1] == ((Grid(6, 4, 4), 0),)


@pytest.mark.parametrize(
    "positions",
    [
        {"kind": "rope1d"},
        {"kind": "rope1d", "factor": 2.0},
        {"kind": "mrope"},
        {"kind": "mrope", "per_second": 2.0},
    ],
)
@given(kept=st.sets(st.integers(0, 23)))
@settings(max_examples=20, deadline=None)
def test_tokens_that_are_read_keep_their_positions(positions: dict[str, Any], kept: set[int]) -> None:
    part = find("positions", positions["kind"])(configure("positions", positions))
    grid = Grid(2, 3, 4)
    timed = (0.0, 1.5)
    places, after = numbered(part, [3, (SparseGrid(2, 3, 4, tuple(sorted(kept))), 2, timed), 4], 7)
    whole, behind = part.ids([3, (grid, 2, timed), 4], start=7)
    index = [0, 1, 2, *(3 + cell for cell in sorted(kept)), *range(27, 33)]
    assert torch.equal(places, whole[:, index])
    assert after == behind


def test_a_sparse_layout_holds_what_is_read_piece_by_piece() -> None:
    layout = ((Grid(1, 2, 2), 0), "mark", (Grid(1, 2, 2), 1))
    assert sparse(layout, (0, 3, 5, 8)) == (
        (SparseGrid(1, 2, 2, (0, 3)), 0), "mark", (SparseGrid(1, 2, 2, (1,)), 1)
    )  # fmt: skip
    assert sparse(layout, (8,))[0] == (SparseGrid(1, 2, 2, ()), 0)
    with pytest.raises(ValueError, match="without a place"):
        sparse(layout, (0, 1))


def ask(question: str, answer: str) -> Sample:
    return Sample("", (Clip("a", "c.mp4"),), (Turn("user", question), Turn("assistant", answer)))  # type: ignore[arg-type]


@pytest.mark.parametrize("positions", ["rope1d", "mrope"])
@torch.no_grad()
def test_pruned_clips_packed_are_the_unpruned_with_the_left_out_hidden(positions: str) -> None:
    """The language model itself is the judge: reading fewer tokens is not attending to the others."""
    changes: dict[str, Any] = {"positions": {"kind": positions}}
    if positions == "mrope":
        rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 0]}
        changes["language"] = {"model_type": "qwen2_vl_text", "rope_parameters": rope}
    model = video_lm(torch.float64, resolution=pruned(keep=0.45), **changes)
    whole = video_lm(torch.float64, resolution=WHOLE, **changes)
    words, prompt = tokenizer(), model.blueprint.prompt
    encoded = [encode(ask(f"what is {i}?", f"it is {i}"), prompt, words) for i in range(3)]
    clips = [moving(seed=1), moving(frames=4, seed=2)]
    cut = [model.cut(clip) for clip in clips]
    readings = [spell(model.layouts(one)[0], 0, words) for one in cut]
    groups = [Group((encoded[0], encoded[1]), (readings[0],)), Group((encoded[2],), (readings[1],))]
    found = model(pack(groups, model.positions), model.visual([model.see_views(one) for one in cut]))
    rows = ((clips[0], cut[0], encoded[:2]), (clips[1], cut[1], encoded[2:]))
    wanted = [hidden(whole, clip, one.kept[0], sample) for clip, one, samples in rows for sample in samples]
    assert torch.allclose(found, torch.cat(wanted), atol=1e-9)


@pytest.mark.parametrize(("connector", "resolution", "said"), [
    ({"kind": "resampler", "queries": 2, "head_width": 4}, pruned(keep=0.5), "no part of a picture"),
    ({"kind": "track", "slots": 2, "scene": 1, "frames": 3}, pruned(keep=0.5), "no part of a picture"),
])  # fmt: skip
def test_connectors_without_cells_are_refused(connector: dict[str, Any], resolution: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as told:
        video_lm(connector=connector, resolution=resolution)
    assert "blueprint.resolution.prune" in str(told.value)


def test_pruning_of_stills_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"scenes\.image\.prune.*stills"):
        video_lm(resolution=WHOLE, scenes={"image": pruned(keep=0.5)})
    with pytest.raises(ConfigError, match=r"resolution\.prune.*stills"):
        video_lm(resolution=pruned(keep=0.5), scenes={"video": WHOLE})


@pytest.mark.parametrize(
    "how", [{}, {"keep": 0.5, "threshold": 0.1}, {"keep": True}, {"share": 0.5}, {"keep": float("nan")}]
)
def test_what_makes_no_sense_is_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Prune.model_validate(how)


def test_resolutions_that_join_views_offer_no_pruning() -> None:
    offer = {
        kind for kind in kinds("resolutions") if "prune" in find("resolutions", kind).Config.model_fields
    }
    assert offer == {"whole", "pad", "native", "framed", "tiles", "slices"}


def test_a_blueprint_keeps_it() -> None:
    told = Blueprint.model_validate_json(video_lm(resolution=pruned(keep=0.25)).blueprint.model_dump_json())
    assert told.resolution["prune"] == {"keep": 0.25}
