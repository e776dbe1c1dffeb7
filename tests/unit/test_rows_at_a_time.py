"""How many answers there is room for."""

from __future__ import annotations

import pytest
import torch
from test_generate import WIDTH, make_model
from test_generate_states import DENSE
from test_generate_states import make_model as make_hybrid

from vidapt.inference import room
from vidapt.models.reading import column_bytes


def test_what_a_token_takes_is_what_its_keys_and_values_take() -> None:
    model = make_model()
    layers, heads, kept, size = 3, 4, 2, 4
    assert column_bytes(model) == layers * 2 * kept * (WIDTH // heads) * size
    assert column_bytes(model.to(torch.bfloat16)) == layers * 2 * kept * (WIDTH // heads) * 2


def test_a_state_does_not_grow() -> None:
    hybrid = make_hybrid(**DENSE)
    config = hybrid.language.config
    attending = sum(kind == "full_attention" for kind in config.layer_types)
    assert 0 < attending < config.num_hidden_layers
    assert column_bytes(hybrid) == attending * 2 * config.num_key_value_heads * config.head_dim * 4


class _Engine:
    clip_tokens = 90

    def __init__(self) -> None:
        self.model = make_model()


@pytest.mark.parametrize(
    ("rows", "found"),
    [(0.5, 1), (1.1, 1), (2.1, 2), (3.9, 3), (11.9, 8), (31.9, 24), (32.1, 32), (10**6, 32)],
)
def test_rows_fill_what_is_free(rows: float, found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _Engine()
    row = 100 * column_bytes(engine.model)
    monkeypatch.setattr(room, "free_bytes", lambda _: int(rows * row / room._SHARE))
    assert room.rows_at_a_time(engine, 10) == found  # type: ignore[arg-type]


def test_clips_that_are_held_leave_less_room(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = _Engine()
    assert room.visual_bytes(engine.model) == WIDTH * 4
    row = 100 * column_bytes(engine.model) + 8 * 90 * WIDTH * 4
    monkeypatch.setattr(room, "free_bytes", lambda _: int(4.1 * row / room._SHARE))
    assert room.rows_at_a_time(engine, 10, 8) == 4  # type: ignore[arg-type]
    assert room.rows_at_a_time(engine, 10) > 4  # type: ignore[arg-type]


def test_where_nobody_tells_what_is_free_a_usual_number_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda _: None)
    assert room.rows_at_a_time(_Engine(), 10) == room.MOST["cpu"]  # type: ignore[arg-type]
