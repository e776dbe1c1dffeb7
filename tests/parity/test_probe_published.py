"""Probes look into published models of every build: tiles, levels, two towers, tokens without a place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from label_tools import film
from test_export_contract import MODELS

import vidapt
from vidapt.nouns import Clip
from vidapt.probing.pooled import rows_of
from vidapt.video import decode

PLACES = {
    "llava_next_video": {"tower", "connector"},
    "llava_video": {"tower", "connector"},
    "qwen3_vl": {"tower", "connector"},
    "hilight": {"tower 1", "tower 2", "connector"},
    "mini_gemini": {"tower 1", "tower 2", "connector"},
}


@pytest.mark.parametrize("name", PLACES)
def test_every_place_is_looked_at(name: str, tmp_path: Path) -> None:
    MODELS[name][0](tmp_path / "published")
    engine = vidapt.load(tmp_path / "published")
    clip = Clip("a", film(tmp_path / "a.mp4", 0))
    frames = decode(clip, engine.model.blueprint.frames, size=engine.model.decode_size)
    seen, read, whole = engine.look_through(clip, frames)
    for most in (8, 1 << 20):
        rows = rows_of(seen, read, len(engine.model.towers), most)
        assert set(rows) == PLACES[name]
        for place, row in rows.items():
            assert len(row.x) == len(row.at) <= most, place
            assert torch.isfinite(row.x).all()
            assert ((row.at == -1).all(1) | ((row.at >= 0) & (row.at <= 1)).all(1)).all()
    assert torch.equal(rows["connector"].x, whole.tokens.float()), "of what is not pooled nothing is lost"
    assert sum(len(row.x) for place, row in rows.items() if "tower" in place) == sum(
        one.x[0, ..., 0].numel() + (0 if one.extra is None or one.levels else one.extra.shape[1])
        for one in seen.features
    )
