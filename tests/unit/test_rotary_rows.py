"""Rows whose rotary frequencies follow from their length say what each says alone, whatever stands beside."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_generate import WORDS, about, clip, make_model, question

from vidapt.models.decoding import Decoding
from vidapt.models.generate import generate
from vidapt.models.packed import Group
from vidapt.models.rotary import original_length, varying
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM

ORIGINAL = 24
KINDS: dict[str, dict[str, Any]] = {
    "dynamic": {"rope_type": "dynamic", "factor": 8.0, "rope_theta": 100.0},
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 100.0,
        "original_max_position_embeddings": ORIGINAL,
        "short_factor": [1.0, 1.5, 2.0, 2.5],
        "long_factor": [3.0, 4.0, 5.0, 6.0],
        "attention_factor": 1.2,
    },
}


def made(kind: str) -> VideoLM:
    most = ORIGINAL if kind == "dynamic" else 8 * ORIGINAL
    return make_model(rope_parameters=KINDS[kind], max_position_embeddings=most)


MODELS = {kind: made(kind) for kind in KINDS}


def texts(*lengths: int) -> list[tuple[int, ...]]:
    return [tuple(random.Random(length).randint(3, WORDS - 1) for _ in range(length)) for length in lengths]


def blind(*asked: tuple[int, ...]) -> Group:
    """Questions without a clip, behind nothing."""
    return Group(tuple(Encoded((), ids, (False,) * len(ids)) for ids in asked), ())


def alone(model: VideoLM, ids: tuple[int, ...], count: int) -> tuple[int, ...]:
    """What transformers writes of a prompt, by a module that has read nothing before."""
    language = copy.deepcopy(model.language)
    language.generation_config.eos_token_id = None
    given = torch.tensor([ids])
    said = language.generate(
        given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
    )
    return tuple(said[0, len(ids) :].tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_rows_on_both_sides_of_the_original_length_say_what_they_say_alone(kind: str) -> None:
    model, asked = MODELS[kind], texts(4, 60, 22, 24, 25, 12, 40)
    assert original_length(model.varying) == ORIGINAL
    wanted = [alone(model, ids, 8) for ids in asked]
    for some in (asked, asked[::-1]):
        found = generate(model, [blind(ids) for ids in some], [None] * len(some), (), Decoding(8))
        assert [answer.ids for (answer,) in found] == [wanted[asked.index(ids)] for ids in some]
    found = generate(model, [blind(*asked)], [None], (), Decoding(8), times=[1, 2, 1, 1, 2, 1, 1])
    twice = [ids for at, ids in enumerate(wanted) for _ in range(2 if at in (1, 4) else 1)]
    assert [answer.ids for answer in found[0]] == twice


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 30)), min_size=2, max_size=5),
    st.integers(1, 4),
)
def test_an_answer_about_a_clip_does_not_depend_on_what_is_asked_beside_it(
    kind: str, lengths: list[tuple[int, int]], places: int
) -> None:
    model = MODELS[kind]
    groups = [about(question(*texts(own)[0], before=texts(before)[0])) for before, own in lengths]
    clips = [clip(at) for at in range(len(groups))]
    together = generate(model, groups, clips, (), Decoding(6), places=places)
    apart = [
        generate(model, [one], [seen], (), Decoding(6))[0] for one, seen in zip(groups, clips, strict=True)
    ]
    assert [[answer.ids for answer in one] for one in together] == [
        [answer.ids for answer in one] for one in apart
    ]


def test_other_models_have_no_such_rows() -> None:
    model = make_model()
    assert model.varying == varying(model.language) == ()
    forwards = [module.__dict__.get("forward") for module in MODELS["dynamic"].varying]
    assert forwards == [None], "what is put in the place of a forward is taken away"
