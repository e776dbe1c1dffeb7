"""Answers of models whose layers keep states: each row's own, whatever stands beside it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hybrid_tools import DENSE, MIXTURE, make_exact, original_of
from test_generate import GREEDY, MIXED, SINGLES, Heard, about, clip, make_model, one, question, spoken
from torch import Tensor

from vidapt.models import delta_net
from vidapt.models.decoding import Decoding
from vidapt.models.generate import generate
from vidapt.models.packed import pack
from vidapt.models.row_cache import row_cache, select_rows
from vidapt.models.video_lm import VideoLM

BOTH = pytest.mark.parametrize("language", [DENSE, MIXTURE], ids=["dense", "experts"])
ALL_STATES = {**DENSE, "num_hidden_layers": 2}


def together(model: VideoLM) -> list[Any]:
    groups, visual = zip(*MIXED, strict=True)
    return [answer for answers in generate(model, groups, visual, (), GREEDY) for answer in answers]


@pytest.mark.parametrize("language", [DENSE, MIXTURE, ALL_STATES], ids=["dense", "experts", "states alone"])
def test_greedy_answers_equal_those_of_transformers(language: dict[str, Any]) -> None:
    model = make_model(**language)
    answer = one(model, about(question(5, 6, 7)), clip(4))
    own = make_model(**language)
    own.language = original_of(model.language)
    assert type(own.language.model.layers[0].linear_attn) is not type(
        model.language.model.layers[0].linear_attn
    )
    # Of layers with states alone, transformers' loop cannot tell how long its cache is.
    if language is not ALL_STATES:
        assert answer.ids == spoken(own, clip(4))
    assert answer.ids == by_hand(own, clip(4))
    assert len(set(answer.ids)) > 3, "an answer of one repeated word would prove little"


@torch.no_grad()
def by_hand(model: VideoLM, visual: Tensor) -> tuple[int, ...]:
    """The same without any cache: the whole text is read again for every word."""
    words = model.language.get_input_embeddings()
    embedded = torch.cat([words(torch.tensor([3])), visual, words(torch.tensor([5, 6, 7]))])[None]
    written: list[int] = []
    for _ in range(32):
        mask = torch.ones(embedded.shape[:2], dtype=torch.long)
        logits = model.language(inputs_embeds=embedded, attention_mask=mask, use_cache=False).logits
        written.append(int(logits[0, -1].argmax()))
        embedded = torch.cat([embedded, words(torch.tensor([[written[-1]]]))], dim=1)
    return tuple(written)


@BOTH
def test_rows_of_mixed_lengths_equal_single_runs(
    language: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(**language)
    heard = Heard(model, monkeypatch)
    answers = together(model)
    logits = heard.take()
    for row, (group, tokens) in enumerate(SINGLES):
        assert one(model, group, tokens) == answers[row]
        for step, alone in zip(logits, heard.take(), strict=True):
            # Rounding alone: see the same in float64 below.
            assert (step[row] - alone[0]).abs().max() <= 2e-4 * alone.abs().max()
    assert len({answer.ids for answer in answers}) == len(SINGLES)


def far_from_single_runs(model: VideoLM, monkeypatch: pytest.MonkeyPatch) -> float:
    """How far logits of the first words are from those of single runs, relative to their size."""
    heard = Heard(model, monkeypatch)
    together(model)
    first = heard.take()[:2]
    apart = 0.0
    for row, (group, tokens) in enumerate(SINGLES):
        one(model, group, tokens)
        for step, alone in zip(first, heard.take(), strict=False):
            apart = max(apart, float((step[row] - alone[0]).abs().max() / alone.abs().max()))
    return apart


def exact_model(monkeypatch: pytest.MonkeyPatch) -> VideoLM:
    model = make_model(**DENSE).double()
    make_exact(model.language, monkeypatch)
    return model


def test_rows_of_mixed_lengths_equal_single_runs_to_the_last_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = exact_model(monkeypatch)
    heard = Heard(model, monkeypatch)
    answers = together(model)
    logits = heard.take()
    for row, (group, tokens) in enumerate(SINGLES):
        assert one(model, group, tokens) == answers[row]
        for step, alone in zip(logits, heard.take(), strict=True):
            assert (step[row] - alone[0]).abs().max() <= 1e-11 * alone.abs().max()


def leave_gaps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(delta_net, "without_gaps", delta_net.as_they_are)


def read_padding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(delta_net, "without_gaps", lambda real: delta_net.as_they_are(torch.ones_like(real)))


def do_not_follow_rows(patch: pytest.MonkeyPatch) -> None:
    of = delta_net.DeltaState.of
    patch.setattr(delta_net.DeltaState, "of", lambda state, rows: of(state, rows * 0))


@pytest.mark.parametrize("mistake", [leave_gaps, read_padding, do_not_follow_rows])
def test_the_equality_notices_mistakes(mistake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = exact_model(monkeypatch)
    with monkeypatch.context() as patch:
        mistake(patch)
        groups, visual = zip(*MIXED, strict=True)
        heard = Heard(model, patch)
        generate(model, groups, visual, (), GREEDY)
        wrong = heard.take()[1]
    heard = Heard(model, monkeypatch)
    generate(model, groups, visual, (), GREEDY)
    assert (wrong - heard.take()[1]).abs().max() > 1e-3


@BOTH
def test_training_forward_and_generation_read_alike(
    language: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(**language)
    heard = Heard(model, monkeypatch)
    visual, asked = clip(6), question(5, 6, 7)
    answer = one(model, about(asked), visual)
    written = torch.cat(heard.take())
    whole = question(5, 6, 7, *answer.ids)
    labelled = type(whole)(whole.prefix, whole.ids, (False,) * 3 + (True,) * len(answer.ids))
    with torch.no_grad():
        trained = model(pack([about(labelled)], model.positions), visual)
    assert torch.allclose(trained, written, atol=1e-4, rtol=0)
    assert trained.argmax(-1).tolist() == list(answer.ids)


def test_sampling_is_deaf_to_neighbours() -> None:
    model, warm = make_model(**DENSE), Decoding(max_new_tokens=12, temperature=1.0)
    groups, visual = zip(*MIXED, strict=True)
    seeds = list(range(len(SINGLES)))
    answers = [a for some in generate(model, groups, visual, (), warm, seeds) for a in some]
    for row, (group, tokens) in enumerate(SINGLES):
        assert one(model, group, tokens, warm, seeds=[row]) == answers[row]


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 3, 16, 17, 70, 130])
def test_a_layer_without_padding_is_transformers_own(length: int) -> None:
    torch.manual_seed(0)
    language = make_model(**DENSE).language
    ours = language.model.layers[0].linear_attn
    theirs = original_of(language).model.layers[0].linear_attn
    hidden = torch.randn(2, length, ours.hidden_size)
    expected = theirs(hidden)
    assert (ours(hidden) - expected).abs().max() <= 1e-6 * expected.abs().max().clamp_min(1)


@torch.no_grad()
def test_pieces_of_any_length_read_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = exact_model(monkeypatch)
    layer = model.language.model.layers[0].linear_attn
    hidden = torch.randn(2, 24, layer.hidden_size, dtype=torch.float64)
    cache = row_cache(model.language)
    pieces = [layer(piece, cache_params=cache) for piece in hidden.split([1, 2, 10, 1, 1, 9], dim=1)]
    assert torch.allclose(torch.cat(pieces, 1), layer(hidden), atol=1e-12, rtol=0)
    assert cache.get_seq_length() == 24
    select_rows(cache, torch.tensor([1, 1, 0]))
    again = layer(hidden[[1, 1, 0], :5], cache_params=cache)
    assert torch.equal(again[0], again[1])
    assert not torch.allclose(again[0], again[2])


def test_transformers_own_cache_is_served_by_its_own_forward_pass() -> None:
    model = make_model(**DENSE)
    answer = one(model, about(question(5, 6, 7)), clip(4))
    assert spoken(model, clip(4)) == answer.ids
