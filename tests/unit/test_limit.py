"""What a clip takes at least, by counts that can be made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_generate import WIDTH, WORDS, make_model

from vidapt.inference import limit
from vidapt.inference.limit import Limit, Speed, measured
from vidapt.video import Uniform


class _Engine:
    def __init__(self) -> None:
        self.model = make_model()
        # As many frames as its tower takes.
        blueprint = self.model.blueprint
        self.model.blueprint = blueprint.model_copy(update={"frames": Uniform(count=2)})


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Limit:
    monkeypatch.setattr(limit, "measured", lambda *_: Speed(products=1e9, bytes=1e8))
    return Limit.of(_Engine())  # type: ignore[arg-type]


def test_a_token_takes_what_its_layers_multiply(found: Limit) -> None:
    layers, inner, kept = 3, 48, 2 * WIDTH // 4
    attention = 2 * WIDTH * WIDTH + 2 * WIDTH * kept  # of its own, and of two heads of keys and values
    products = layers * (attention + 3 * WIDTH * inner)
    scores = layers * 2 * WIDTH * limit._FEW  # to the few others it was counted with
    assert 2 * products <= found.token <= 2 * (products + scores), "processors count no scores"
    assert found.pair == 2 * layers * WIDTH


def test_what_is_moved_are_weights_and_what_is_remembered(found: Limit) -> None:
    model = _Engine().model
    assert found.weights == 4 * sum(one.numel() for one in model.language.parameters())
    assert found.weights > 4 * WORDS * WIDTH
    assert found.column == 3 * 2 * 2 * (WIDTH // 4) * 4
    assert found.seen > 0


def test_more_rows_share_the_weights_and_more_answers_the_prefix(found: Limit) -> None:
    read, new = 100.0, 10.0
    products = found.seen + found.token * (read + new) + found.pair * read * read
    alone = products / 1e9 + new * (found.weights + found.column * read) / 1e8
    assert found.seconds(read, new, 1) == pytest.approx(alone)
    eight = products / 1e9 + new * (found.weights / 8 + found.column * read) / 1e8
    assert found.seconds(read, new, 8) == pytest.approx(eight)
    assert found.seconds(read, new, 8, answers=4) < eight
    longer = max(products / 1e9, alone - products / 1e9)
    assert replace(found, both=True).seconds(read, new, 1) == pytest.approx(longer)


def test_a_device_is_measured() -> None:
    speed = measured(torch.device("cpu"), torch.float32)
    assert 1e8 < speed.products < 1e14
    assert 1e7 < speed.bytes < 1e13
