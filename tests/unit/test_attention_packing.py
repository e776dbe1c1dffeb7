"""Questions behind one shared copy of a clip train exactly as if each had its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from training_tools import (
    GivenBatch,
    clone_with_own_attention,
    random_features,
    tokenizer,
    video_lm,
)

from vidapt.errors import ConfigError
from vidapt.models.attention import PrefixLayout
from vidapt.models.packed import Group, Packed, pack
from vidapt.models.text import Encoded, encode
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Features, Sample, Turn
from vidapt.objectives.next_token import Part as NextToken

LORA = {"adapters": {"rank": 3, "alpha": 6}}
GQA = {"language": {"num_key_value_heads": 2}}


def ask(question: str, answer: str, *more: str, media: int = 1) -> Sample:
    """Further strings are further turns."""
    talk = [question, answer, *more]
    turns = tuple(Turn("assistant" if i % 2 else "user", text) for i, text in enumerate(talk))
    return Sample("", tuple(Clip(str(i), "c.mp4") for i in range(media)), turns)  # type: ignore[arg-type]


def questions(count: int) -> list[Sample]:
    return [ask(f"what is {i}?" + " it" * i, f"it is {7 * i} and 3") for i in range(count)]


@dataclass
class Case:
    """Clips (as numbers of frames, one list per group) and the samples about them."""

    frames: list[list[int]]
    samples: list[list[Sample]]
    model: dict[str, Any]


CASES = {
    **{f"{n} questions": Case([[3]], [questions(n)], {}) for n in range(1, 9)},
    "prefixes of different lengths": Case([[1], [4], [2]], [questions(3), questions(1), questions(5)], {}),
    "several turns": Case(
        [[2], [3]],
        [[ask("what is it?", "it is red", "is it?", "it is not"), *questions(2)], questions(2)],
        {},
    ),
    "two clips in a sample": Case(
        [[2, 3], [1]], [[ask("what is it?", "it", media=2), ask("is it?", "not", media=2)], questions(2)], {}
    ),
    "an answer before the second clip": Case(
        [[2, 1]],
        [[ask("<video>what?", "it is 3", f"<video>{q}?", "the red ball", media=2) for q in ("it", "what")]],
        {},
    ),
    "text alone": Case([[], [2]], [[ask("what is it?", "it is 12", media=0)], questions(2)], {}),
    "grouped queries": Case([[2], [3]], [questions(3), questions(2)], GQA),
    "adapters": Case([[2], [3]], [questions(3), questions(2)], LORA),
    "adapters and grouped queries": Case([[3], [1]], [questions(4), questions(2)], LORA | GQA),
    "scaled positions": Case(
        [[2], [3]], [questions(3), questions(2)], {"positions": {"kind": "rope1d", "factor": 2.0}}
    ),
}


class World:
    """A case with its model, features and encoded samples."""

    def __init__(self, case: Case, dtype: torch.dtype) -> None:
        self.model = video_lm(dtype, resolution={"kind": "whole"}, **case.model)
        if "adapters" in case.model:
            self.model.language.requires_grad_(False)
            for name, weight in self.model.language.named_parameters():
                weight.requires_grad_("lora_" in name)
        words, prompt = tokenizer(), self.model.blueprint.prompt
        self.encoded = [[encode(sample, prompt, words) for sample in group] for group in case.samples]
        self.clips = [
            [random_features(frames, dtype, 10 * i + k) for k, frames in enumerate(group)]
            for i, group in enumerate(case.frames)
        ]

    def shared(self) -> GivenBatch:
        """One row per group."""
        groups = [(tuple(encoded), clips) for encoded, clips in zip(self.encoded, self.clips, strict=True)]
        return self._batch(groups)

    def separate(self) -> GivenBatch:
        """One row per sample, with its own copy of the clips."""
        pairs = zip(self.encoded, self.clips, strict=True)
        return self._batch([((one,), clips) for encoded, clips in pairs for one in encoded])

    def _batch(self, groups: Sequence[tuple[tuple[Encoded, ...], list[Features]]]) -> GivenBatch:
        rows = [
            Group(encoded, tuple((self.model.connector.plan(clip.grid),) for clip in clips))
            for encoded, clips in groups
        ]
        seen = [clip for _, clips in groups for clip in clips]
        return GivenBatch(seen, pack(rows, self.model.positions))

    def sequences(self, model: VideoLM) -> list[tuple[Tensor, list[int | None]]]:
        """Per sample: [L, D] embeddings written out by hand, and each position's label."""
        table = model.language.get_input_embeddings()
        found = []
        for encoded, clips in zip(self.encoded, self.clips, strict=True):
            visual = [model.connect(clip).x[0] for clip in clips]
            for one in encoded:
                rows: list[Tensor] = []
                labels: list[int | None] = []
                for index, piece in enumerate(one.prefix):
                    if isinstance(piece, int):
                        rows.append(visual[piece])
                        labels += [None] * len(visual[piece])
                    else:
                        rows.append(table(torch.tensor(piece)))
                        labels += piece if index in one.early else [None] * len(piece)
                rows.append(table(torch.tensor(one.ids)))
                labels += [token if own else None for token, own in zip(one.ids, one.answer, strict=True)]
                found.append((torch.cat(rows), labels))
        return found


def loss_and_gradients(model: VideoLM, batch: GivenBatch) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad(set_to_none=True)
    loss = NextToken(NextToken.Config())(model, batch)
    mean = loss.total / loss.weight
    mean.backward()
    return mean.detach(), gradients(model)


def gradients(model: VideoLM) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def plain_transformers(world: World) -> tuple[Tensor, dict[str, Tensor]]:
    """Every sequence alone through transformers' causal model, cross-entropy averaged over labels."""
    model = clone_with_own_attention(world.model)
    model.zero_grad(set_to_none=True)
    total, count = torch.zeros((), dtype=torch.float64), 0
    for embeddings, labels in world.sequences(model):
        spans = [len(embeddings)]
        places, _ = model.positions.ids(spans)
        logits = model.language(
            inputs_embeds=embeddings[None],
            position_ids=places,
            # Without a mask, transformers takes positions that do not advance by one for several sequences.
            attention_mask=torch.ones(1, len(embeddings), dtype=torch.long),
            use_cache=False,
        ).logits[0]
        for at, label in enumerate(labels):
            if label is not None:
                total = total + F.cross_entropy(logits[at - 1].double(), torch.tensor(label))
                count += 1
    mean = total / count
    mean.backward()
    return mean.detach(), gradients(model)


def largest_difference(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """Over all weights, relative to the largest gradient of that weight."""
    assert left.keys() == right.keys()
    return max(
        float((left[name] - right[name]).abs().max() / left[name].abs().max().clamp_min(1e-30))
        for name in left
        if left[name].abs().max() > 0 or right[name].abs().max() > 0
    )


@pytest.mark.parametrize("name", CASES)
def test_shared_prefixes_equal_separate_samples_and_plain_transformers(name: str) -> None:
    world = World(CASES[name], torch.float64)
    loss, shared = loss_and_gradients(world.model, world.shared())
    apart, separate = loss_and_gradients(world.model, world.separate())
    oracle, plain = plain_transformers(world)
    assert len(shared) > 3
    assert float((loss - apart).abs()) < 1e-10
    assert float((loss - oracle).abs()) < 1e-10
    assert largest_difference(separate, shared) < 1e-10
    assert largest_difference(plain, shared) < 1e-10


@pytest.mark.parametrize(
    "name", ["8 questions", "prefixes of different lengths", "adapters and grouped queries"]
)
def test_shared_prefixes_equal_separate_samples_in_float32(name: str) -> None:
    world = World(CASES[name], torch.float32)
    loss, shared = loss_and_gradients(world.model, world.shared())
    apart, separate = loss_and_gradients(world.model, world.separate())
    assert float((loss - apart).abs() / apart) < 1e-6
    assert largest_difference(separate, shared) < 1e-5


def see_other_questions(packed: Packed) -> Packed:
    everyone = torch.where(packed.layout.owner >= 0, 0, packed.layout.owner)
    return replace(packed, layout=PrefixLayout(packed.layout.valid, everyone))


def do_not_restart_positions(packed: Packed) -> Packed:
    return replace(packed, positions=torch.arange(packed.ids.shape[1]).expand_as(packed.ids))


def see_padding(packed: Packed) -> Packed:
    return replace(packed, layout=PrefixLayout(torch.ones_like(packed.layout.valid), packed.layout.owner))


@pytest.mark.parametrize("mistake", [see_other_questions, do_not_restart_positions, see_padding])
def test_the_equality_notices_mistakes(mistake: Any) -> None:
    world = World(CASES["prefixes of different lengths"], torch.float64)
    right, batch = world.separate(), world.shared()
    wrong = replace(batch, packed=mistake(batch.packed))
    loss, gradient = loss_and_gradients(world.model, wrong)
    expected, separate = loss_and_gradients(world.model, right)
    assert float((loss - expected).abs()) > 1e-4
    assert largest_difference(separate, gradient) > 1e-3


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", ["5 questions", "prefixes of different lengths", "grouped queries"])
def test_flex_attention_gives_what_the_two_calls_give(name: str) -> None:
    world = World(CASES[name], torch.float32)
    batch = world.shared()
    flex = replace(batch.packed, layout=replace(batch.packed.layout, flex=True))
    visual = world.model.visual(batch.seen)
    with torch.no_grad():
        two_calls = world.model(batch.packed, visual)
        assert torch.allclose(world.model(flex, visual), two_calls, atol=1e-5)
        mistaken = replace(flex, layout=replace(see_other_questions(flex).layout, flex=True))
        assert not torch.allclose(world.model(mistaken, visual), two_calls, atol=1e-3)


def test_a_question_is_blind_to_the_others() -> None:
    world = World(CASES["3 questions"], torch.float64)
    batch = world.shared()
    visual = world.model.visual(batch.seen)
    before = world.model(batch.packed, visual)
    last = batch.packed.layout.owner[0] == 2
    ids = batch.packed.ids.clone()
    ids[0, batch.packed.layout.prefix :][last] = 5
    after = world.model(replace(batch.packed, ids=ids), visual)
    others = batch.packed.sample < 2
    assert torch.equal(before[others], after[others])
    assert not torch.allclose(before[~others], after[~others])


def test_a_window_shorter_than_the_sequence_is_refused() -> None:
    language = {"model_type": "mistral", "sliding_window": 8}
    world = World(Case([[3]], [questions(1)], {"language": language}), torch.float32)
    with pytest.raises(ConfigError, match="window of 8 tokens"):
        loss_and_gradients(world.model, world.shared())


def test_a_language_model_without_replaceable_attention_is_refused() -> None:
    language = {"model_type": "bloom", "n_head": 4, "n_layer": 1}
    with pytest.raises(ConfigError, match="does not let its attention be replaced"):
        video_lm(language=language)


def test_samples_of_one_row_must_share_their_prefix() -> None:
    world = World(CASES["text alone"], torch.float32)
    first, second = world.encoded[0][0], world.encoded[1][0]
    with pytest.raises(ValueError, match="one prefix"):
        pack([Group((first, second), ())], world.model.positions)
