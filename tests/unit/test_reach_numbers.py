"""How far a language model reads, to the token: configurations, sequences, answers and refusals."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from training_tools import tokenizer, video_lm
from transformers import AutoConfig

from vidapt.errors import BudgetError, ConfigError
from vidapt.models.decoding import Decoding
from vidapt.models.packed import Words
from vidapt.models.reach import (
    Lengths,
    Reach,
    most_frames,
    reach_of,
    refuse_longer,
    refuse_packed,
    room,
    sequence,
)
from vidapt.models.reach import text_length as tokens_of_text
from vidapt.models.text import Encoded
from vidapt.nouns import Clip, Grid, Sample
from vidapt.positions.rope1d import Part as Rope
from vidapt.video import Every, Keyframes, Motion, Near, Times, Uniform, write_mp4


def reads(**fields: Any) -> float:
    config = SimpleNamespace(**fields)
    config.get_text_config = lambda: SimpleNamespace(**fields, layer_types=["full_attention"])
    model: Any = SimpleNamespace(language=SimpleNamespace(config=config))
    return reach_of(model).positions


@pytest.mark.parametrize("most", [None, "100", 0, -1, 99.5])
def test_a_configuration_without_a_number_states_no_end(most: object) -> None:
    assert reads(max_position_embeddings=most) == math.inf
    assert reads() == math.inf
    assert reads(max_position_embeddings=1) == 1


@pytest.mark.parametrize(
    ("scaling", "stretch"),
    [
        (None, 1),
        ({}, 1),
        ({"rope_type": "linear", "factor": 1.5}, 1.5),
        ({"type": "linear", "factor": 2}, 2),
        ({"rope_type": "dynamic", "factor": 4.0}, 4),
        ({"rope_type": "linear", "factor": 1.0}, 1),
        ({"rope_type": "linear", "factor": 0.5}, 1),
        ({"rope_type": "linear", "factor": "4"}, 1),
        ({"rope_type": "linear"}, 1),
        ({"rope_type": "llama3", "factor": 8.0}, 1),
        ({"rope_type": "default", "factor": 8.0}, 1),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 50}, 2),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 100}, 4),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 10}, 1),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": None}, 4),
        ({"rope_type": "yarn", "factor": 3}, 3),
        ({"near": {"rope_type": "default"}, "far": {"rope_type": "linear", "factor": 8.0}}, 8),
        ({"near": {"rope_type": "linear", "factor": 3.0}, "far": {"rope_type": "default"}}, 3),
    ],
    ids=str,
)
def test_scaling_reaches_as_far_as_its_kind_says(scaling: Any, stretch: float) -> None:
    for name in ("rope_parameters", "rope_scaling"):
        assert reads(max_position_embeddings=100, **{name: scaling}) == 100 * stretch


def test_what_is_too_much_is_told_from_one_token_on() -> None:
    reach = Reach(64, 9)
    assert reach.excess(9, 9, packed=True) is None
    assert reach.excess(64, 64, packed=False) is None
    assert reach.excess(70, 64.0, packed=False) is None
    assert reach.excess(65, 65, packed=False) == "65 tokens, and this language model reads 64"
    assert reach.excess(80, 64.5, packed=False) == "80 tokens, 65 positions, and this language model reads 64"
    told = "10 tokens, and this language model attends within a window of 9"
    assert reach.excess(10, 10, packed=True) == told
    assert Reach(64, None).excess(64, 64, packed=True) is None
    assert (reach.least, Reach(5, 9).least, Reach(64, None).least) == (9, 5, 64)


def test_a_sequence_is_as_long_as_what_stands_in_it() -> None:
    clips = [((Grid(1, 2, 3), 1), Words((5, 6))), ((Grid(2, 1, 1), 0),)]
    prefix = ((1, 2, 3), 0, (4,), 1)
    for factor in (1.0, 4.0):
        positions = Rope(Rope.Config(factor=factor))
        found = 3 + (7 + 2) + 1 + 2 + 10
        assert sequence(positions, prefix, clips, 10) == (found, found / factor)
        assert sequence(positions, (), [], 0) == (0, 0)
    encoded = Encoded(((1, 2, 3), 0, (4,)), (7, 8), (False, True))
    assert tokens_of_text(encoded) == 6


@pytest.mark.parametrize(
    ("factor", "after", "limit", "wanted", "found"),
    [
        (1, 60, 64, 99, 5),
        (1, 60, 64, 5, 5),
        (1, 60, 64, 4, 4),
        (1, 64, 64, 9, 1),
        (1, 70, 64, 9, 1),
        (4, 60, 64, 99, 17),
        (1, 60, math.inf, 99, 99),
    ],
)
def test_an_answers_last_token_is_not_read(
    factor: float, after: float, limit: float, wanted: int, found: int
) -> None:
    assert room(Rope(Rope.Config(factor=factor)), after, limit, wanted) == found


def test_policies_take_so_many_frames_at_most() -> None:
    assert most_frames(Times(times=(0.5, 1.5, 2.5))) == 3
    assert most_frames(Uniform(count=7)) == 7
    assert most_frames(Every(rate=1.0, cap=9)) == 9


def small(**changes: Any) -> Any:
    return video_lm(language={"max_position_embeddings": 64, **changes})


def test_a_batch_may_reach_the_last_position() -> None:
    model = small()
    for positions in (torch.arange(64)[None], torch.zeros(1, 0)):
        refuse_packed(model, SimpleNamespace(positions=positions))  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match="reaches position 64 of 64"):
        refuse_packed(model, SimpleNamespace(positions=torch.tensor([[64]])))  # type: ignore[arg-type]


def said(*lengths: int, clip: Path | None = None) -> Any:
    """Samples of so many tokens, beside what a clip takes."""
    prefix = () if clip is None else (0,)
    media = () if clip is None else (Clip("c", clip),)
    return SimpleNamespace(
        media=media,
        samples=tuple(Sample(f"s{n}", media, (), source=f"labels:{n}") for n in range(len(lengths))),
        encoded=[Encoded(prefix, (1,) * n, (False,) * n) for n in lengths],
    )


def test_the_first_that_is_too_long_is_named_and_the_others_are_counted() -> None:
    model, words = small(), tokenizer()
    refuse_longer(model, words, [said(64, 1), said()])
    endless = SimpleNamespace(language=SimpleNamespace(config=AutoConfig.for_model("mamba")))
    refuse_longer(endless, words, [said(9999)])
    for lengths, more in (((3, 65), ""), ((65, 66), "; so it is with 1 more"), ((70, 9, 80, 90), "2 more")):
        with pytest.raises(BudgetError) as error:
            refuse_longer(model, words, [said(5), said(*lengths)])
        first = next(n for n, length in enumerate(lengths) if length > 64)
        assert f"labels:{first}: would be {lengths[first]} tokens" in str(error.value)
        assert more in str(error.value)
        assert ("so it is" in str(error.value)) is bool(more)
        assert "use fewer frames" in str(error.value)


def test_a_clip_that_cannot_be_read_takes_no_room_here(tmp_path: Path) -> None:
    absent = tmp_path / "absent.mp4"
    refuse_longer(small(), tokenizer(), [said(64, clip=absent)])
    with pytest.raises(BudgetError, match=r"labels:0 with .*absent\.mp4: would be 65 tokens"):
        refuse_longer(small(), tokenizer(), [said(65, clip=absent)])


@pytest.mark.parametrize(
    ("field", "refused", "taken"),
    [
        ("max_new_tokens", (0, -1), (1, 2)),
        ("temperature", (-1e-9, math.inf, math.nan), (0, 1e-9, 5.0)),
        ("top_p", (0, -0.1, math.nextafter(1, 2), math.nan), (1e-9, 0.5, 1)),
    ],
)
def test_decoding_takes_what_makes_sense(
    field: str, refused: tuple[Any, ...], taken: tuple[Any, ...]
) -> None:
    for value in refused:
        with pytest.raises(ConfigError, match=field):
            Decoding(**{field: value})
    for value in taken:
        assert getattr(Decoding(**{field: value}), field) == value


def test_decoding_is_greedy_if_nothing_else_is_said() -> None:
    assert Decoding() == Decoding(max_new_tokens=128, temperature=0.0, top_p=1.0, seed=0)


class Cutter:
    """A model that reads a clip as a token for every 100 x 100 pixels of each frame, and a number."""

    def __init__(self, decode_size: tuple[int, int] | None, frames: Any) -> None:
        self.decode_size, self.blueprint = decode_size, SimpleNamespace(frames=frames)
        self.planned: list[tuple[tuple[int, int], int, int]] = []

    def plan(self, size: tuple[int, int], frames: int, together: int) -> tuple[None, Any]:
        self.planned.append((size, frames, together))
        height, width = self.decode_size or size
        if height < 100:
            raise ValueError("too low")
        return None, ((Grid(frames, -(-height // 100), -(-width // 100)), 0), "{index}")


def number_of(text: str, add_special_tokens: bool) -> Any:
    return SimpleNamespace(input_ids=[100 + int(text)])


def test_no_clip_is_expected_to_take_more_than_the_most_of_common_shapes() -> None:
    cutter = Cutter(None, Uniform(count=4))
    lengths = Lengths(cutter, number_of)
    assert lengths.most(2) == 1.5 * (4 * 11 * 20 + 1)
    shapes = {size for size, _, _ in cutter.planned}
    assert shapes == {(1080, 1920), (1920, 1080), (1080, 1080), (480, 1920), (1920, 480), (240, 320)}
    assert {(frames, together) for _, frames, together in cutter.planned} == {(1, 2), (4, 2)}
    cutter.planned.clear()
    assert lengths.most(2) == 1.5 * (4 * 11 * 20 + 1)
    assert cutter.planned == []  # known by now
    lengths.most(1)
    assert {together for _, _, together in cutter.planned} == {1}


def test_where_all_clips_become_one_size_none_is_spared() -> None:
    cutter = Cutter((200, 300), Uniform(count=4))
    assert Lengths(cutter, number_of).most(1) == 4 * 2 * 3 + 1
    assert {size for size, _, _ in cutter.planned} == {(1080, 1920)}


@pytest.mark.parametrize(
    ("policy", "frames"),
    [
        (Uniform(count=4), 4),
        (Uniform(count=99, pad=False), 6),
        (Every(rate=1.0, cap=9), 3),
        (Every(rate=2.0, cap=2), 2),
        (Times(times=(0.0, 1.0)), 2),
        (Keyframes(cap=5), 5),
        (Near(count=6), 6),
        (Motion(count=7), 7),
    ],
    ids=str,
)
def test_of_a_clip_its_own_shape_and_frames_are_read(tmp_path: Path, policy: Any, frames: int) -> None:
    file = tmp_path / "clip.mp4"
    write_mp4(file, np.zeros((6, 120, 310, 3), dtype=np.uint8), 2)
    cutter = Cutter(None, policy)
    lengths, clip = Lengths(cutter, number_of), Clip("c", file)
    span, text = lengths.reading(clip, 3, 1)
    assert text == Words((103,))
    assert not isinstance(span, Words)
    assert span[:2] == (Grid(frames, 2, 4), 0)
    assert len(span[2]) == frames  # with the seconds, of which the text between may tell
    file.unlink()
    assert lengths.reading(clip, 0, 1)[1] == Words((100,))  # its shape is known
    assert lengths.reading(Clip("other", file), 0, 1) == ()


def test_a_clip_that_the_tower_cannot_take_is_told_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    write_mp4(file, np.zeros((6, 64, 310, 3), dtype=np.uint8), 2)
    assert Lengths(Cutter(None, Uniform(count=4)), number_of).reading(Clip("c", file), 0, 1) == ()
