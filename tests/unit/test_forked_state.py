"""Questions behind a shared prefix train layers with state as if each had a prefix of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_attention_packing as packing
import torch
import torch.nn.functional as F
from hybrid_tools import DENSE, MIXTURE, difference, make_exact, original_of
from test_attention_packing import CASES, Case, World, largest_difference, loss_and_gradients
from torch import Tensor
from training_tools import GivenBatch, blueprint, recipe, stage, video_lm, write_clips

from vidapt.errors import ConfigError
from vidapt.models import attention, delta_net
from vidapt.models.delta_net import DeltaState
from vidapt.models.packed import Group, pack
from vidapt.models.token_rows import TokenRows
from vidapt.models.video_lm import VideoLM
from vidapt.training import run

NAMES = (
    "8 questions",
    "prefixes of different lengths",
    "several turns",
    "two clips in a sample",
    "an answer before the second clip",
    "text alone",
    "adapters",
    "scaled positions",
)
AXES = {"positions": {"kind": "mrope"}}


def world(name: str, language: dict[str, Any], dtype: torch.dtype, **more: Any) -> World:
    case = CASES[name]
    return World(Case(case.frames, case.samples, {**case.model, **more, "language": language}), dtype)


def exact_world(name: str, monkeypatch: pytest.MonkeyPatch, **more: Any) -> World:
    found = world(name, DENSE, torch.float64, **more)
    make_exact(found.model.language, monkeypatch)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_shared_prefixes_equal_separate_samples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = exact_world(name, monkeypatch)
    loss, shared = loss_and_gradients(found.model, found.shared())
    apart, separate = loss_and_gradients(found.model, found.separate())
    assert float((loss - apart).abs()) < 1e-12
    assert largest_difference(separate, shared) < 1e-8
    told = {name.rpartition(".")[0].rpartition(".")[2] for name in shared}
    wanted = {"in_proj_qkv", "in_proj_z", "out_proj"} if name != "adapters" else {"lora_A", "lora_B"}
    assert wanted <= told | {part for name in shared for part in name.split(".")}


@pytest.mark.parametrize("language", [DENSE, MIXTURE], ids=["dense", "experts"])
@pytest.mark.parametrize("name", NAMES)
def test_shared_prefixes_equal_separate_samples_in_float32(name: str, language: dict[str, Any]) -> None:
    found = world(name, language, torch.float32)
    loss, shared = loss_and_gradients(found.model, found.shared())
    apart, separate = loss_and_gradients(found.model, found.separate())
    assert float((loss - apart).abs() / apart) < 1e-6
    assert difference(shared, separate) < 1e-5


def test_positions_of_three_axes_make_no_difference_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = exact_world("prefixes of different lengths", monkeypatch, **AXES)
    _, shared = loss_and_gradients(found.model, found.shared())
    _, separate = loss_and_gradients(found.model, found.separate())
    assert found.shared().packed.positions.shape[0] == 3
    assert largest_difference(separate, shared) < 1e-8


# transformers takes decays in float32 even in a model of float64.
@pytest.mark.parametrize(
    ("language", "close"), [(None, 1e-6), (DENSE, 1e-5), (MIXTURE, 1e-4)], ids=["float64", "dense", "experts"]
)
def test_shared_prefixes_equal_transformers_own_layers(
    language: dict[str, Any] | None, close: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "prefixes of different lengths"
    found = exact_world(name, monkeypatch) if language is None else world(name, language, torch.float32)
    loss, shared = loss_and_gradients(found.model, found.shared())
    original = original_of(found.model.language)
    if language is None:
        make_exact(original, monkeypatch)
    model: Any = found.model
    total, count = torch.zeros(()), 0
    model.zero_grad(set_to_none=True)
    for embeddings, labels in found.sequences(model):
        places = torch.arange(len(embeddings))[None]
        logits = original(
            inputs_embeds=embeddings[None],
            position_ids=places,
            attention_mask=torch.ones_like(places),
            use_cache=False,
        ).logits[0]
        for at, label in enumerate(labels):
            if label is not None:
                total = total + F.cross_entropy(logits[at - 1], torch.tensor(label))
                count += 1
    mean = total / count
    mean.backward()
    assert float((loss - mean).detach().abs()) < close * float(loss)
    # Words are looked up in our table, and written by the original's.
    own = packing.gradients(model)
    theirs = {f"language.{name}": weight.grad for name, weight in original.named_parameters()}
    plain = {
        name: sum(g[name] for g in (own, theirs) if g.get(name) is not None)  # type: ignore[misc]
        for name in shared
    }
    assert difference(shared, plain) < close


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_layers_give_the_same_gradients(
    reentrant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = exact_world("prefixes of different lengths", monkeypatch)
    loss, plain = loss_and_gradients(found.model, found.separate())
    found.model.train()
    found.model.language.activation_checkpointing_enable({"use_reentrant": reentrant})
    calls = count_reads(monkeypatch)
    again, checkpointed = loss_and_gradients(found.model, found.shared())
    # Three layers read prefixes and questions, and once more on the way back.
    assert len(calls) == 3 * 2 * 2
    assert float((loss - again).abs()) < 1e-12
    assert largest_difference(plain, checkpointed) < 1e-8


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    rule = delta_net.dense.torch_chunk_gated_delta_rule

    def counted(query: Tensor, *rest: Any, **named: Any) -> Any:
        shapes.append(tuple(query.shape[:2]))
        return rule(query, *rest, **named)

    monkeypatch.setattr(delta_net.dense, "torch_chunk_gated_delta_rule", counted)
    return shapes


def test_a_prefix_is_read_once_for_all_its_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    found = world("8 questions", DENSE, torch.float32)
    shapes = count_reads(monkeypatch)
    batch = found.shared()
    loss_and_gradients(found.model, batch)
    prefix = (1, batch.packed.layout.prefix)
    assert [shape[0] for shape in shapes] == [1, 8] * 3
    assert shapes[::2] == [prefix] * 3


def test_questions_of_one_token_have_gradients_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_backward(*tensors: Tensor, **named: Any) -> Any:
        raise NotImplementedError("the kernel has no backward pass")

    found = world("3 questions", DENSE, torch.float32)
    short = [
        Group((replace(e, ids=e.ids[:1], answer=(True,)),), ((found.model.connector.plan(c.grid),),))
        for e, c in zip(found.encoded[0], found.clips[0] * 3, strict=True)
    ]
    monkeypatch.setattr(delta_net.dense, "torch_recurrent_gated_delta_rule", without_backward)
    logits = found.model(pack(short, found.model.positions), found.model.visual(found.shared().seen * 3))
    logits.sum().backward()
    assert found.model.language.model.layers[0].linear_attn.in_proj_qkv.weight.grad.abs().max() > 0


def test_no_question_hears_another_one() -> None:
    found = world("3 questions", DENSE, torch.float32)
    batch = found.shared()
    visual = found.model.visual(batch.seen)
    before = found.model(batch.packed, visual)
    ids = batch.packed.ids.clone()
    ids[0, batch.packed.layout.prefix :][batch.packed.layout.owner[0] == 1] = 5
    after = found.model(replace(batch.packed, ids=ids), visual)
    others = batch.packed.sample != 1
    assert torch.equal(before[others], after[others])
    assert not torch.allclose(before[~others], after[~others])


def test_padding_says_nothing_even_if_it_is_no_number() -> None:
    found = world("prefixes of different lengths", DENSE, torch.float32)
    batch = found.shared()
    layout = batch.packed.layout
    padding = ~torch.cat([layout.valid, layout.owner >= 0], dim=1)
    assert padding[:, : layout.prefix].any()
    assert padding[:, layout.prefix :].any()
    layer = next(m for m in found.model.language.modules() if isinstance(m, delta_net.DeltaNet))
    hidden = torch.randn(*padding.shape, 16)
    expected = layer(hidden, layout=layout)[~padding]
    for noise in (1e4, float("nan")):
        given = hidden.masked_fill(padding.unsqueeze(-1), noise)
        assert torch.equal(layer(given, layout=layout)[~padding], expected)


def test_flex_attention_is_refused_before_a_clip_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_place", lambda device, asked: torch.device("cpu"))
    labels = write_clips(tmp_path / "clips", clips=1)
    asked = recipe(stage(labels, batching={"flex": True}, steps=1), blueprint=blueprint(language=DENSE))
    with pytest.raises(ConfigError, match=r"batching\.flex: computes attention alone, and layers"):
        run.train(asked, tmp_path / "runs", lambda *event: None, workers=0)
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_flex_attention_is_refused_by_the_layers_themselves() -> None:
    found = world("3 questions", DENSE, torch.float32)
    batch = found.shared()
    flex = replace(batch.packed, layout=replace(batch.packed.layout, flex=True))
    with pytest.raises(ConfigError, match="keep a state, which is forked instead"):
        found.model(flex, found.model.visual(batch.seen))


def test_adapters_reach_the_layers_with_state() -> None:
    found = world("adapters", DENSE, torch.float32)
    _, gradient = loss_and_gradients(found.model, found.shared())
    adapted = {name.split(".lora_")[0].rpartition(".")[2] for name in gradient if ".lora_" in name}
    assert {"in_proj_qkv", "in_proj_z", "out_proj"} <= adapted
    assert {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"} <= adapted


def test_adapters_can_be_put_into_layers_with_state_alone() -> None:
    targets = ["in_proj_qkv", "in_proj_z", "out_proj"]
    model = video_lm(language=DENSE, adapters={"rank": 3, "alpha": 6, "targets": targets})
    adapted = {name.split(".lora_")[0] for name, _ in model.language.named_parameters() if ".lora_" in name}
    layers = [f"model.layers.{number}.linear_attn.{target}" for number in range(3) for target in targets]
    assert adapted == set(layers)


Mistake = Callable[[pytest.MonkeyPatch], None]


def forget_memory(patch: pytest.MonkeyPatch) -> None:
    of = DeltaState.of

    def without(state: DeltaState, rows: Tensor) -> DeltaState:
        return replace(of(state, rows), memory=torch.zeros_like(state.memory[rows]))

    patch.setattr(DeltaState, "of", without)


def forget_history(patch: pytest.MonkeyPatch) -> None:
    of = DeltaState.of

    def without(state: DeltaState, rows: Tensor) -> DeltaState:
        return replace(of(state, rows), history=torch.zeros_like(state.history[rows]))

    patch.setattr(DeltaState, "of", without)


def cut_the_gradient(patch: pytest.MonkeyPatch) -> None:
    of = DeltaState.of

    def without(state: DeltaState, rows: Tensor) -> DeltaState:
        found = of(state, rows)
        return DeltaState(found.history.detach(), found.memory.detach())

    patch.setattr(DeltaState, "of", without)


def take_a_neighbours_state(patch: pytest.MonkeyPatch) -> None:
    of = DeltaState.of
    patch.setattr(DeltaState, "of", lambda state, rows: of(state, rows.roll(1)))


def read_padding(patch: pytest.MonkeyPatch) -> None:
    def everything(rows: TokenRows, x: Tensor) -> Tensor:
        return x if rows.index is None else x.flatten(0, 1)[rows.index]

    patch.setattr(TokenRows, "take", everything)


def end_behind_padding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        TokenRows, "lengths", property(lambda rows: torch.full_like(rows.origin, rows.real.shape[1]))
    )


def read_questions_as_one(patch: pytest.MonkeyPatch) -> None:
    by_owner = attention.by_owner
    patch.setattr(attention, "by_owner", lambda owner: by_owner(owner.clamp_max(0)))


@pytest.mark.parametrize(
    "mistake",
    [
        forget_memory,
        forget_history,
        cut_the_gradient,
        take_a_neighbours_state,
        read_padding,
        end_behind_padding,
        read_questions_as_one,
    ],
)
def test_the_equality_notices_mistakes(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    found = exact_world("prefixes of different lengths", monkeypatch)
    model: VideoLM = found.model
    right: GivenBatch = found.separate()
    _, separate = loss_and_gradients(model, right)
    with monkeypatch.context() as patch:
        mistake(patch)
        _, wrong = loss_and_gradients(model, found.shared())
    assert largest_difference(separate, wrong) > 1e-3
