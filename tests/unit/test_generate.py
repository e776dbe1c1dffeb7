from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.models.decoding import Answer, Decoding
from vidapt.models.generate import generate
from vidapt.models.packed import Group, pack
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Grid
from vidapt.recipe import Blueprint

WORDS, WIDTH = 40, 32
SPAN = (Grid(1, 2, 3), 1)
SLOTS = 7
GREEDY = Decoding(max_new_tokens=32)


def make_model(factor: float = 1.0, **language: Any) -> VideoLM:
    torch.manual_seed(1)
    blueprint = Blueprint(
        towers=(
            {
                "kind": "conv_vip",
                "size": (16, 24),
                "frames": 2,
                "width": 16,
                "stem": 8,
                "heads": 2,
                "proxies": 2,
            },
        ),
        connector={
            "kind": "track",
            "slots": 3,
            "scene": 2,
            "frames": 2,
            "hidden": 16,
            "layers": 1,
            "heads": 2,
        },
        positions={"kind": "rope1d", "factor": factor},
        language={
            "model_type": "llama",
            "vocab_size": WORDS,
            "hidden_size": WIDTH,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "initializer_range": 0.3,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            **language,
        },
    )
    return VideoLM(blueprint).eval()


@pytest.fixture(scope="module")
def model() -> VideoLM:
    return make_model()


def clip(seed: int) -> Tensor:
    return torch.randn(SLOTS, WIDTH, generator=torch.Generator().manual_seed(seed))


def question(*ids: int, before: Sequence[int] = (3,)) -> Encoded:
    """A question behind one clip, which stands behind the words `before`."""
    return Encoded((tuple(before), 0), ids, (False,) * len(ids))


def about(*questions: Encoded) -> Group:
    return Group(questions, ((SPAN,),))


def blind(*ids: int) -> Group:
    return Group((Encoded((), ids, (False,) * len(ids)),), ())


def one(
    model: VideoLM, group: Group, visual: Tensor | None, decoding: Decoding = GREEDY, **rest: Any
) -> Answer:
    ((answer,),) = generate(model, [group], [visual], rest.pop("stops", ()), decoding, **rest)
    return answer


class Heard:
    """Keeps the logits of every call of a model's head."""

    def __init__(self, model: VideoLM, monkeypatch: pytest.MonkeyPatch) -> None:
        self.logits: list[Tensor] = []
        head = model.head

        def listen(states: Tensor) -> Tensor:
            self.logits.append(head(states))
            return self.logits[-1]

        monkeypatch.setattr(model, "head", listen)

    def take(self) -> list[Tensor]:
        taken, self.logits = self.logits, []
        return taken


MIXED: list[tuple[Group, Tensor | None]] = [
    (about(question(5, 6)), clip(1)),
    (about(question(7, 8, 9, 10, 11, before=(3, 12, 13, 14))), clip(2)),
    (blind(4, 15, 16), None),
    (about(question(17), question(5, 6, 18, 19), question(20, 21)), clip(3)),
]
SINGLES = [(Group((e,), group.clips), visual) for group, visual in MIXED for e in group.encoded]


def spoken(model: VideoLM, visual: Tensor) -> tuple[int, ...]:
    """What transformers' own loop answers to the question 5, 6, 7."""
    words = model.language.get_input_embeddings()
    embedded = torch.cat([words(torch.tensor([3])), visual, words(torch.tensor([5, 6, 7]))])[None]
    ids = model.language.generate(
        inputs_embeds=embedded,
        attention_mask=torch.ones(1, embedded.shape[1], dtype=torch.long),
        max_new_tokens=32,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    return tuple(ids[0].tolist())


def test_greedy_answers_equal_those_of_transformers(model: VideoLM) -> None:
    visual = clip(4)
    answer = one(model, about(question(5, 6, 7)), visual)
    assert answer.ids == spoken(model, visual)
    assert len(set(answer.ids)) > 3, "an answer of one repeated word would prove little"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_of_mixed_lengths_equal_single_runs(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model().to(dtype)
    heard = Heard(model, monkeypatch)
    groups, visual = zip(*MIXED, strict=True)
    together = [a for answers in generate(model, groups, visual, (), GREEDY) for a in answers]
    logits = heard.take()
    assert len(logits) == GREEDY.max_new_tokens
    for row, (group, tokens) in enumerate(SINGLES):
        assert one(model, group, tokens) == together[row]
        for step, alone in zip(logits, heard.take(), strict=True):
            assert (step[row] - alone[0]).abs().max() <= 1e-5 * alone.abs().max()
    assert len({answer.ids for answer in together}) == len(SINGLES)


WINDOWS: dict[str, dict[str, Any]] = {
    "mistral": {},
    "phi3": {},
    "qwen2": {"use_sliding_window": True, "max_window_layers": 1},
    "gemma3_text": {
        "head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
    "cohere2": {"head_dim": 8},
}


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("window", [3, 12])
def test_a_sliding_window_counts_no_padding(kind: str, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(model_type=kind, sliding_window=window, **WINDOWS[kind])
    heard = Heard(model, monkeypatch)
    groups, visual = zip(*MIXED, strict=True)
    together = [a for answers in generate(model, groups, visual, (), GREEDY) for a in answers]
    logits = heard.take()
    for row, (group, tokens) in enumerate(SINGLES):
        assert one(model, group, tokens) == together[row]
        for step, alone in zip(logits, heard.take(), strict=True):
            assert (step[row] - alone[0]).abs().max() <= 1e-5 * alone.abs().max()


@pytest.mark.parametrize("kind", WINDOWS)
def test_answers_under_a_sliding_window_equal_those_of_transformers(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = []
    for window in (3, 64):
        model = make_model(model_type=kind, sliding_window=window, **WINDOWS[kind])
        heard = Heard(model, monkeypatch)
        answer = one(model, about(question(5, 6, 7)), clip(4))
        last.append(heard.take()[-1])
        model.language.set_attn_implementation("sdpa")
        assert answer.ids == spoken(model, clip(4))
    assert (last[0] - last[1]).abs().max() > 1e-3, "a window without effect would prove nothing"


def test_finished_rows_leave_the_batch_and_disturb_nobody(
    model: VideoLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups, visual = zip(*MIXED, strict=True)
    stops = {one(model, *SINGLES[0]).ids[3], one(model, *SINGLES[3]).ids[9]}
    heard = Heard(model, monkeypatch)
    together = [a for answers in generate(model, groups, visual, tuple(stops), GREEDY) for a in answers]
    sizes = [len(step) for step in heard.take()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == len(SINGLES) > sizes[-1]
    for row, (group, tokens) in enumerate(SINGLES):
        assert one(model, group, tokens, stops=tuple(stops)) == together[row]
        free = one(model, group, tokens).ids
        until = next((i for i, token in enumerate(free) if token in stops), len(free))
        assert together[row] == Answer(free[:until], ended=until < len(free))


def test_questions_behind_one_prefix_equal_separate_runs(model: VideoLM) -> None:
    group, visual = MIXED[3]
    ((first, second, third),) = generate(model, [group], [visual], (), GREEDY)
    separate = [one(model, about(encoded), visual) for encoded in group.encoded]
    assert [first, second, third] == separate


@pytest.mark.parametrize("factor", [1.0, 2.0, 3.0])
def test_training_forward_and_generation_number_tokens_alike(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(factor)
    heard = Heard(model, monkeypatch)
    visual = clip(6)
    asked = question(5, 6, 7)
    answer = one(model, about(asked), visual)
    written = torch.cat(heard.take())
    whole = replace(asked, ids=asked.ids + answer.ids, answer=(False,) * 3 + (True,) * len(answer.ids))
    with torch.no_grad():
        trained = model(pack([about(whole)], model.positions), visual)
    assert torch.allclose(trained, written, atol=1e-5, rtol=0)
    assert trained.argmax(-1).tolist() == list(answer.ids)


def test_scaled_positions_change_the_answer() -> None:
    plain, scaled = (one(make_model(factor), about(question(5, 6, 7)), clip(6)) for factor in (1.0, 2.0))
    assert plain != scaled


def test_answers_stop_at_the_limit(model: VideoLM, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(model, monkeypatch)
    answer = one(model, *SINGLES[0], Decoding(max_new_tokens=5))
    assert answer == Answer(one(model, *SINGLES[0]).ids[:5], ended=False)
    assert len(heard.take()) == 5 + GREEDY.max_new_tokens, "nothing is read behind the last token"


def test_no_questions_give_no_answers(model: VideoLM) -> None:
    assert generate(model, [], [], (), GREEDY) == []


WARM = Decoding(max_new_tokens=12, temperature=1.0)


def test_sampling_is_seeded_and_deaf_to_neighbours(model: VideoLM) -> None:
    groups, visual = zip(*MIXED, strict=True)
    seeds = list(range(len(SINGLES)))
    together = [a for answers in generate(model, groups, visual, (), WARM, seeds) for a in answers]
    for row, (group, tokens) in enumerate(SINGLES):
        assert one(model, group, tokens, WARM, seeds=[row]) == together[row]
    group, tokens = SINGLES[0]
    assert one(model, group, tokens, WARM, seeds=[99]) != together[0]
    assert one(model, group, tokens, replace(WARM, seed=99)) == one(model, group, tokens, WARM, seeds=[99])


def test_sampling_follows_the_models_probabilities(model: VideoLM, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard(model, monkeypatch)
    draws, warm = 3000, Decoding(max_new_tokens=1, temperature=1.7)
    group = about(*[question(5, 6)] * draws)
    (answers,) = generate(model, [group], [clip(1)], (), warm, list(range(draws)))
    expected = (heard.take()[0][0] / 1.7).softmax(-1)
    found = torch.bincount(torch.tensor([answer.ids[0] for answer in answers]), minlength=WORDS) / draws
    # Four standard deviations of a share near one half are 0.037.
    assert (found - expected).abs().max() < 0.037
    assert (expected > 0.05).sum() >= 2, "a certain choice would prove little"


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.8, 0.9), (1.7, 0.6)])
def test_sampled_answers_equal_those_of_transformers_given_the_same_draws(
    model: VideoLM, monkeypatch: pytest.MonkeyPatch, temperature: float, top_p: float
) -> None:
    """transformers draws from one generator for all rows; its draw alone is replaced by ours."""
    stream = torch.Generator().manual_seed(5)

    def draw(probabilities: Tensor, num_samples: int) -> Tensor:
        sums = probabilities.double().cumsum(-1)
        return torch.searchsorted(sums, torch.rand((), generator=stream) * sums[:, -1:], right=True)

    visual = clip(4)
    words = model.language.get_input_embeddings()
    embedded = torch.cat([words(torch.tensor([3])), visual, words(torch.tensor([5, 6, 7]))])[None]
    monkeypatch.setattr(torch, "multinomial", draw)
    expected = model.language.generate(
        inputs_embeds=embedded,
        attention_mask=torch.ones(1, embedded.shape[1], dtype=torch.long),
        max_new_tokens=32,
        do_sample=True,
        temperature=temperature,
        top_p=top_p,
        top_k=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    sampled = Decoding(max_new_tokens=32, temperature=temperature, top_p=top_p, seed=5)
    answer = one(model, about(question(5, 6, 7)), visual, sampled)
    assert answer.ids == tuple(expected[0].tolist())
    assert answer != one(model, about(question(5, 6, 7)), visual), "greedy words would prove little"


def test_a_small_share_of_probability_is_greedy(model: VideoLM) -> None:
    group, tokens = SINGLES[0]
    narrow = replace(WARM, top_p=1e-6)
    assert one(model, group, tokens, narrow) == one(model, group, tokens, replace(WARM, temperature=0.0))


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-38, 1e-6])
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_the_smallest_temperatures_are_greedy(model: VideoLM, temperature: float, top_p: float) -> None:
    group, tokens = SINGLES[0]
    cold = replace(WARM, temperature=temperature, top_p=top_p)
    assert one(model, group, tokens, cold) == one(model, group, tokens, replace(WARM, temperature=0.0))


def test_the_largest_temperature_draws_any_word(model: VideoLM) -> None:
    group, tokens = SINGLES[0]
    assert len(one(model, group, tokens, replace(WARM, temperature=1e308)).ids) == WARM.max_new_tokens


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_new_tokens": 0},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.1},
    ],
)
def test_senseless_decoding_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Decoding(**wrong)


def test_tokens_are_told_as_they_are_written(model: VideoLM) -> None:
    """And an answer that is not wanted any more ends there, while its neighbours go on."""
    groups = [Group((question(4, 5), question(6)), ((SPAN,),)), Group((question(7),), ((SPAN,),))]
    visual = [clip(1), clip(2)]
    whole = [one for group in generate(model, groups, visual, [], GREEDY) for one in group]
    heard: dict[int, list[int]] = {0: [], 1: [], 2: []}

    def told(row: int, token: int) -> bool:
        heard[row].append(token)
        return row != 1 or len(heard[row]) < 3

    cut = [one for group in generate(model, groups, visual, [], GREEDY, told=told) for one in group]
    assert [one.ids for one in cut] == [whole[0].ids, whole[1].ids[:3], whole[2].ids]
    assert not cut[1].ended
    assert [tuple(heard[row]) for row in range(3)] == [one.ids for one in cut]
