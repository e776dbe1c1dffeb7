"""Answers that join others while those are written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_generate import GREEDY, MIXED, SINGLES, SLOTS, Heard, about, clip, make_model, one, question
from torch import Tensor

from vidapt.models import cascade, running
from vidapt.models import generate as generating
from vidapt.models.decoding import Answer, Decoding
from vidapt.models.generate import generate
from vidapt.models.memory import free_bytes, is_out_of_memory
from vidapt.models.rows import Rows
from vidapt.models.running import Running
from vidapt.models.sampling import Cooling
from vidapt.models.video_lm import VideoLM

WARM = Decoding(max_new_tokens=12, temperature=1.5)
STOPS = (5, 9, 17, 23, 31)
"""So many words end an answer that lengths differ."""


@pytest.fixture(scope="module")
def model() -> VideoLM:
    return make_model()


def asked(model: VideoLM, decoding: Decoding, **rest: Any) -> list[Answer]:
    groups, visual = zip(*MIXED, strict=True)
    found = generate(model, groups, visual, STOPS, decoding, list(range(len(SINGLES))), **rest)
    return [answer for answers in found for answer in answers]


@pytest.fixture(scope="module")
def alone(model: VideoLM) -> dict[Decoding, list[Answer]]:
    return {
        decoding: [
            one(model, group, visual, decoding, stops=STOPS, seeds=[row])
            for row, (group, visual) in enumerate(SINGLES)
        ]
        for decoding in (GREEDY, WARM, replace(WARM, heat=Cooling(first=3.0, tokens=2.0)))
    }


@settings(max_examples=12, deadline=None)
@given(
    places=st.integers(1, 7),
    read=st.sampled_from([1, 12, 8192]),
    share=st.integers(1, 8),
    few=st.sampled_from([0, 4]),
)
def test_how_many_are_written_at_a_time_changes_no_answer(
    model: VideoLM, alone: dict[Decoding, list[Answer]], places: int, read: int, share: int, few: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generating, "READ_TOKENS", read)
        patch.setattr(running, "_ENDED_SHARE", share)
        patch.setattr(cascade, "_FEW", few)
        for decoding, expected in alone.items():
            found = asked(model, decoding, places=places)
            assert found == expected
            assert [one.logprob for one in found] == pytest.approx(
                [one.logprob for one in expected], abs=1e-5
            )


def test_places_are_taken_as_they_become_free(model: VideoLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    step = Rows.step

    def listen(self: Rows, model: VideoLM, tokens: Tensor) -> Tensor:
        sizes.append(len(tokens))
        return step(self, model, tokens)

    monkeypatch.setattr(Rows, "step", listen)
    groups = [about(question(5, 6)) for _ in range(12)]
    lengths = dict(enumerate([2, 9, 4, 9, 2, 7, 3, 9, 2, 9, 5, 9]))
    written = dict.fromkeys(lengths, 0)

    def told(row: int, token: int) -> bool:
        written[row] += 1
        return written[row] < lengths[row]

    visual = [clip(seed) for seed in range(12)]
    generate(model, groups, visual, (), GREEDY, told=told, places=4)
    assert written == lengths
    assert max(sizes) <= 4
    # Without taking places anew, three batches of four would take 3 * 8 steps behind their first tokens.
    assert len(sizes) < 24


def test_what_prefixes_begin_with_is_read_once(model: VideoLM, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, int]] = []
    forward = Rows.read

    def listen(self: Rows, model: VideoLM, entering: Any, *rest: Any) -> Tensor:
        read.append(tuple(entering["inputs_embeds"].shape[:2]))
        return forward(self, model, entering, *rest)

    monkeypatch.setattr(Rows, "read", listen)
    begin = tuple(range(3, 15))
    groups = [
        about(question(5, 6, before=begin)),
        about(question(7, 8, 9, before=(*begin, 20, 21))),
        about(question(4, before=begin)),
        about(question(11, before=begin)),
    ]
    visual = [clip(seed) for seed in range(4)]
    found = generate(model, groups, visual, (), replace(GREEDY, max_new_tokens=3), places=2)
    assert read[0] == (1, len(begin))
    assert sum(columns > len(begin) for _, columns in read) == 0, "nobody reads the beginning again"
    expected = [
        one(model, g, v, replace(GREEDY, max_new_tokens=3)) for g, v in zip(groups, visual, strict=True)
    ]
    assert [answers[0] for answers in found] == expected


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_logits_behind_a_shared_beginning_are_those_of_the_whole(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(factor).double()
    heard = Heard(model, monkeypatch)
    begin = tuple(range(3, 15))
    groups = [about(question(5, 6, before=begin)), about(question(7, 8, before=(*begin, 30, 31)))]
    visual = [clip(1).double(), clip(2).double()]
    generate(model, groups, visual, (), GREEDY)
    together = heard.take()
    for row, (group, tokens) in enumerate(zip(groups, visual, strict=True)):
        one(model, group, tokens)
        for step, single in zip(together, heard.take(), strict=True):
            assert (step[row] - single[0]).abs().max() <= 1e-9 * single.abs().max()


class _Full:
    """A model's step for which memory ends where more than some rows are written."""

    def __init__(self, most: int) -> None:
        self.most, self.refused, self._step = most, 0, Rows.step

    def patched(self, patch: pytest.MonkeyPatch) -> None:
        def step(rows: Rows, model: VideoLM, tokens: Tensor) -> Tensor:
            if len(tokens) > self.most:
                self.refused += 1
                raise torch.OutOfMemoryError("no memory")
            return self._step(rows, model, tokens)

        patch.setattr(Rows, "step", step)


def test_where_memory_ends_fewer_are_written_at_a_time(
    model: VideoLM, alone: dict[Decoding, list[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = _Full(3)  # the group with three questions is never apart
    full.patched(monkeypatch)
    for decoding, expected in alone.items():
        assert asked(model, decoding) == expected
    assert full.refused


def test_one_that_alone_has_no_room_is_told(model: VideoLM, monkeypatch: pytest.MonkeyPatch) -> None:
    _Full(0).patched(monkeypatch)
    with pytest.raises(torch.OutOfMemoryError):
        asked(model, GREEDY)


def test_other_errors_are_not_taken_for_a_want_of_memory(
    model: VideoLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Tensor:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Rows, "step", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        asked(model, GREEDY)


def test_torchs_own_error_without_memory_is_known() -> None:
    with pytest.raises(RuntimeError) as told:
        torch.empty(1 << 60)
    assert is_out_of_memory(told.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes differ"))


def test_free_memory_is_told() -> None:
    free = free_bytes(torch.device("cpu"))
    assert free is None or 1 << 20 < free < 1 << 50


def test_answers_of_other_manners_are_written_together(model: VideoLM) -> None:
    """As a server's: greedy ones beside drawn ones, each joining while others are written."""
    manners = [GREEDY, WARM, replace(WARM, top_p=0.5), GREEDY, replace(WARM, heat=Cooling()), WARM]
    expected = [
        one(model, group, visual, replace(manner, max_new_tokens=12), stops=STOPS, seeds=[row])
        for row, ((group, visual), manner) in enumerate(zip(SINGLES, manners, strict=True))
    ]
    running = Running(model, STOPS)
    writing = [
        running_one(group, visual, manner, row)
        for row, ((group, visual), manner) in enumerate(zip(SINGLES, manners, strict=True))
    ]
    for what, answer in writing:
        running.join([what], [answer])
        running.step()
    while running.alive:
        running.step()
    assert [answer.answer for _, answer in writing] == expected


def running_one(group: Any, visual: Any, manner: Decoding, row: int) -> tuple[Any, Any]:
    from vidapt.models.reading import Asked
    from vidapt.models.running import Writing

    return Asked(group, visual, (12,), (1,)), Writing(row, 12, manner, row)


def test_rows_behind_one_prefix_remember_it_once(model: VideoLM, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    step = Rows.step

    def listen(self: Rows, model: VideoLM, tokens: Tensor) -> Tensor:
        layer = self.cache.layers[0]
        assert layer.before is not None
        kept.append(len(layer.before[0]))
        assert layer.keys.shape[2] < SLOTS, "no row has the clip among its own"
        return step(self, model, tokens)

    monkeypatch.setattr(Rows, "step", listen)
    groups = [about(question(5), question(6), question(7)), about(question(8), question(9))]
    lengths = [3, 3, 3, 5, 2]
    written = [0] * len(lengths)

    def told(row: int, token: int) -> bool:
        written[row] += 1
        return written[row] < lengths[row]

    generate(model, groups, [clip(1), clip(2)], (), GREEDY, told=told)
    assert written == lengths
    assert kept == [2, 2, 1, 1], "a prefix goes with the last of its rows"


@pytest.mark.parametrize("where", ["step", "regroup"])
@pytest.mark.parametrize("at", [1, 3, 5])
def test_memory_that_ends_once_on_the_way_changes_no_answer(
    where: str, at: int, model: VideoLM, alone: dict[Decoding, list[Answer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an answer beside another one of its clip has ended by then."""
    plain, calls, sizes = getattr(Rows, where), [0], list[int]()
    step = Rows.step

    def fail(self: Rows, *rest: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise torch.OutOfMemoryError("no memory")
        return plain(self, *rest)

    monkeypatch.setattr(Rows, where, fail)
    for decoding, expected in alone.items():
        calls[0] = 0
        assert asked(model, decoding, places=4) == expected
    monkeypatch.setattr(Rows, where, plain)

    def listen(self: Rows, model: VideoLM, tokens: Tensor) -> Tensor:
        sizes.append(len(tokens))
        return step(self, model, tokens)

    monkeypatch.setattr(Rows, "step", listen)
    monkeypatch.setattr(generating, "is_out_of_memory", lambda error: "join" in str(error))
    joined = Running.join

    def join(self: Running, *rest: Any) -> None:
        if len(self.alive) + len(rest[1]) > 4:
            self.clear()
            raise RuntimeError("no memory to join")
        joined(self, *rest)

    monkeypatch.setattr(Running, "join", join)
    groups = [about(question(5, 6)) for _ in range(8)]
    generate(model, groups, [clip(one) for one in range(8)], (), GREEDY, places=8)
    assert max(sizes) in (2, 4), "half as many go on"
