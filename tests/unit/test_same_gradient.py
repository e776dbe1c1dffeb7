"""A step's gradient, however it is divided: into portions, among processes, into layers computed again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loop_tools import Pair, quiet, stage, work_of
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from training_tools import GivenBatch, random_features, tokenizer, video_lm

from vidapt.models.packed import Group, pack
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Batching, Prompt, Trained
from vidapt.training.data import group_by_clip
from vidapt.training.freeze import set_trainable, training_mode
from vidapt.training.order import Order
from vidapt.training.portions import learn_from
from vidapt.training.ranks import Learner, Ranks
from vidapt.training.stage import fit

CLIPS = 6
ANSWERS = [1, 7, 2, 5, 3, 4]
"""Labels of each clip: a mean of the portions' means would be another one."""


def model_of(**changes: Any) -> VideoLM:
    model = video_lm(torch.float64, resolution={"kind": "whole"}, **changes)
    set_trainable(model, Trained())
    return model


def batch_of(model: VideoLM, clips: Sequence[int]) -> GivenBatch:
    features, groups = [], []
    for clip in clips:
        seen = random_features(2 + clip % 2, torch.float64, clip)
        answer = ANSWERS[clip]
        ids = tuple(range(5, 7 + answer))
        encoded = Encoded((0,), ids, (False, False, *[True] * answer))
        groups.append(Group((encoded,), ((model.connector.plan(seen.grid),),)))
        features.append(seen)
    return GivenBatch(features, pack(groups, model.positions))


def gradient(model: VideoLM, portions: Sequence[Sequence[int]], ranks: Ranks | None = None) -> Tensor:
    """Of the mean over all labels, by the loop's own function."""
    among = ranks or Ranks()
    model.zero_grad()
    learner = among.wrap(Learner(model, NextToken(NextToken.Config())))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    batches = [batch_of(model, clips) for clips in portions]
    learn_from(batches, learner, nullcontext, lambda mean: None, weights, weigh=among.weigh)
    return torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


MODEL = model_of()
WHOLE = gradient(MODEL, [range(CLIPS)])


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(range(CLIPS)), st.sets(st.integers(1, CLIPS - 1)))
def test_any_division_into_portions_has_the_same_gradient(order: list[int], cuts: set[int]) -> None:
    edges = [0, *sorted(cuts), CLIPS]
    portions = [order[a:b] for a, b in itertools.pairwise(edges)]
    assert off(gradient(MODEL, portions), WHOLE) < 1e-10


def test_a_mean_of_means_would_be_another_gradient() -> None:
    halves = [range(3), range(3, CLIPS)]
    means = torch.stack([gradient(MODEL, [half]) for half in halves]).mean(0)
    assert off(means, WHOLE) > 1e-3


def kept_bytes(model: VideoLM, run: Any) -> int:
    """Of tensors that are kept for the backward pass, weights left out."""
    kept: dict[int, int] = {}
    own = {weight.data_ptr() for weight in model.parameters()}

    def pack_(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack_, lambda tensor: tensor):
        run()
    return sum(kept.values())


def test_twelve_layers_that_are_computed_again_keep_half_at_most_and_learn_the_same() -> None:
    model = model_of(language={"num_hidden_layers": 12})
    found: list[Tensor] = []

    def run() -> None:
        found.append(gradient(model, [range(CLIPS)]))

    plain = kept_bytes(model, run)
    training_mode(model, Trained(), recompute=True)
    again = kept_bytes(model, run)
    assert again <= 0.5 * plain
    assert off(found[1], found[0]) < 1e-10


def test_a_wrappers_hooks_are_around_all_that_is_computed() -> None:
    inside: list[bool] = []
    learner = Learner(MODEL, NextToken(NextToken.Config()))
    learner.register_forward_pre_hook(lambda *_: inside.append(True))
    learner.register_forward_hook(lambda *_: inside.append(False))
    seen: list[bool] = []
    hook = MODEL.language.lm_head.register_forward_hook(lambda *_: seen.append(inside[-1]))
    learner(batch_of(MODEL, [0]))
    hook.remove()
    assert seen == [True]
    assert inside == [True, False]


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_processes_share_the_visits_of_a_step(ranks: int) -> None:
    from test_training_settings import of_types

    clips = group_by_clip(of_types(11), Prompt(), tokenizer(), max_answer_tokens=9)
    batching = Batching(clips=5, questions=2)
    whole = Order(clips, batching, (0, 0), 0.3)
    each = [Order(clips, batching, (0, 0), 0.3, rank=rank, ranks=ranks) for rank in range(ranks)]
    for number in range(7):
        shares = [order.step(number) for order in each]
        assert sorted(v.clip for share in shares for v in share) == sorted(v.clip for v in whole.step(number))
        assert {v for share in shares for v in share} == set(whole.step(number))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def one_of_two(rank: int, folder: str) -> None:
    """Each process has clips of its own, with other numbers of labels."""
    torch.set_num_threads(1)
    store, most = f"file://{folder}/store", timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=most)

    def weigh(weight: float) -> float:
        total = torch.tensor(weight, dtype=torch.float64)
        dist.all_reduce(total)
        return float(total) / 2

    try:
        ranks = Ranks(rank, 2, DistributedDataParallel, weigh)
        mine = list(range(CLIPS))[rank::2]
        found = {
            "one portion": gradient(model_of(), [mine], ranks),
            "portions": gradient(model_of(), [mine[:1], mine[1:]], ranks),
            "unweighed": gradient(model_of(), [mine], Ranks(rank, 2, DistributedDataParallel)),
        }
        torch.save(found, Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    other = mp.get_context("spawn").Process(target=one_of_two, args=(1, str(tmp_path)))
    other.start()
    try:
        one_of_two(0, str(tmp_path))  # here, where coverage sees it
    finally:
        other.join()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert off(found["one portion"], WHOLE) < 1e-10
        assert off(found["portions"], WHOLE) < 1e-10
        assert off(found["unweighed"], WHOLE) > 1e-3


class Wrapped(nn.Module):
    """Counts what goes through it, as an engine's hooks would."""

    def __init__(self, learner: nn.Module) -> None:
        super().__init__()
        self.learner, self.calls = learner, 0

    def forward(self, batch: Any) -> Any:
        self.calls += 1
        return self.learner(batch)


def test_every_loss_of_a_stage_goes_through_its_wrapper_and_is_divided_by_its_weight(tmp_path: Path) -> None:
    wrapped: list[Wrapped] = []
    weighed: list[float] = []

    def wrap(learner: nn.Module) -> nn.Module:
        wrapped.append(Wrapped(learner))
        return wrapped[-1]

    def weigh(weight: float) -> float:
        weighed.append(weight)
        return 2 * weight

    model = Pair()
    ranks = Ranks(wrap=wrap, weigh=weigh)
    batches = {0: [1.0], 1: [1.0, 2.0, 3.0], 2: [1.0]}
    given = stage(steps=3, optimizer={"clip_norm": None})
    fit(model, work_of(tmp_path, stage=given, batches=lambda n: list(batches[n]), ranks=ranks), quiet)
    assert [one.calls for one in wrapped] == [5]
    assert weighed == [4.0, 12.0, 4.0]


def test_a_process_alone_wraps_nothing_and_weighs_by_itself() -> None:
    module = nn.Linear(1, 1)
    assert Ranks().wrap(module) is module
    assert Ranks().weigh(3.0) == 3.0
    assert (Ranks().rank, Ranks().count) == (0, 1)
