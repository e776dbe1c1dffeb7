"""Tensors that are added behind layers of a language model, as DeepStack does it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hybrid_tools import DENSE, MIXTURE, difference, named_gradients
from test_generate import make_model
from torch import Tensor

from vidapt.errors import ConfigError
from vidapt.models import depths as module
from vidapt.models._language_check import trial_run
from vidapt.models.attention import PrefixLayout
from vidapt.models.depths import inject, passed, split, spread_out
from vidapt.models.lora import add_adapters
from vidapt.models.row_cache import row_cache
from vidapt.models.rows import Rows
from vidapt.recipe import LoRA

AT = (0, 2)
P, S, D = 6, 4, 32
SLOTS = torch.tensor([[False, True, True, False, True, False], [True, True, True, False, False, False]])
VISUAL = torch.randn(6, 3 * D, generator=torch.Generator().manual_seed(0))
KINDS: dict[str, dict[str, Any]] = {
    "qwen3_vl_text": {"model_type": "qwen3_vl_text", "head_dim": 8},
    "qwen3_5_text": {**DENSE, "num_hidden_layers": 3},
    "qwen3_5_moe_text": {**MIXTURE, "num_hidden_layers": 3},
    "llama": {"model_type": "llama"},
    "gpt2": {"model_type": "gpt2"},
}


def language(kind: str = "qwen3_vl_text", depths: tuple[int, ...] = AT) -> Any:
    found = make_model(**KINDS[kind]).language
    inject(found, depths)
    return found


def deep(slots: Tensor = SLOTS, visual: Tensor = VISUAL) -> dict[int, Tensor]:
    return spread_out(slots, split(visual, AT)[1], AT)


def read(model: Any, embedded: Tensor, **named: Any) -> Tensor:
    mask = torch.ones(embedded.shape[:2], dtype=torch.long)
    found = model.base_model(inputs_embeds=embedded, attention_mask=mask, use_cache=False, **named)
    states = found.last_hidden_state
    assert isinstance(states, Tensor)
    return states


def words(seed: int = 1, length: int = P) -> Tensor:
    return torch.randn(2, length, D, generator=torch.Generator().manual_seed(seed))


def test_what_is_added_equals_the_originals_deepstack() -> None:
    model = language(depths=(0, 1))
    values = split(VISUAL, AT)[1]
    ours = read(model, words(), **passed(spread_out(SLOTS, values, (0, 1))))
    theirs = read(
        model, words(), visual_pos_masks=SLOTS, deepstack_visual_embeds=[value.clone() for value in values]
    )
    assert torch.allclose(ours, theirs, atol=1e-6)
    turned = read(model, words(), **passed(spread_out(SLOTS, values[::-1], (0, 1))))
    assert not torch.allclose(turned, theirs, atol=1e-2)


def test_embedding_comes_first_and_depths_follow_in_order() -> None:
    first, others = split(VISUAL, AT)
    assert torch.equal(torch.cat([first, *others], dim=1), VISUAL)
    dense = deep()
    assert list(dense) == list(AT)
    assert torch.equal(dense[2][SLOTS], others[1])
    assert not dense[2][~SLOTS].any()
    assert torch.equal(split(VISUAL, ())[0], VISUAL)
    with pytest.raises(ValueError, match="95 numbers for an embedding and 1 depths"):
        split(VISUAL[:, :-1], (0,))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_added_behind_the_named_layers_of_any_model(kind: str) -> None:
    model = language(kind)
    heard: dict[int, Tensor] = {}
    layers = module._layers(model)

    def hear(number: int) -> Any:
        return lambda own, args, output: heard.update(
            {number: output[0] if isinstance(output, tuple) else output}
        )

    # The hook that adds was there first, so this one hears its result.
    handles = [layer.register_forward_hook(hear(number)) for number, layer in enumerate(layers)]
    added = deep()
    read(model, words())
    plain = dict(heard)
    read(model, words(), **passed({0: added[0]}))
    assert torch.allclose(heard[0], plain[0] + added[0], atol=1e-5)
    assert not torch.allclose(heard[1], plain[1] + added[0], atol=1e-2)
    read(model, words(), **passed({2: added[2]}))
    assert torch.equal(heard[1], plain[1])
    assert torch.allclose(heard[2], plain[2] + added[2], atol=1e-5)
    for handle in handles:
        handle.remove()


def packed_states(
    model: Any, prefix: Tensor, rows: Tensor, owner: Tensor, added: dict[int, Tensor]
) -> Tensor:
    embedded = torch.cat([prefix, rows], dim=1)
    length = embedded.shape[1]
    none = {depth: torch.cat([x, x.new_zeros(rows.shape)], dim=1) for depth, x in added.items()}
    places = torch.cat([torch.arange(P), *[P + torch.arange(S)] * (rows.shape[1] // S)])
    found = model.base_model(
        inputs_embeds=embedded,
        position_ids=places.expand(len(embedded), -1),
        attention_mask=torch.ones(length, length, dtype=torch.bool).tril()[None, None],
        use_cache=False,
        layout=PrefixLayout(torch.ones(len(prefix), P, dtype=torch.bool), owner),
        **passed(none),
    ).last_hidden_state
    assert isinstance(found, Tensor)
    return found[:, P:]


def weigh(states: Tensor) -> Tensor:
    """A loss; a plain sum of normalised states would have no gradient."""
    return (states * torch.randn(states.shape, generator=torch.Generator().manual_seed(3))).sum()


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"gpt2"}))  # which has no linear layers to adapt
@pytest.mark.parametrize("way", ["plain", "adapters", "checkpointing"])
def test_a_packed_prefix_gives_its_depths_to_all_questions(kind: str, way: str) -> None:
    model = language(kind)
    if way == "adapters":
        add_adapters(model, LoRA(rank=2))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
    if way == "checkpointing":
        model.train().activation_checkpointing_enable()
        for one in model.modules():
            if isinstance(one, torch.nn.Dropout):
                one.p = 0.0
    visual = VISUAL.clone().requires_grad_()
    questions = words(2, 2 * S)
    owner = torch.tensor([[0] * S + [1] * S] * 2)
    states = packed_states(model, words(), questions, owner, deep(visual=visual))
    weigh(states).backward()
    shared, weights = visual.grad, named_gradients(model)
    visual.grad = None
    model.zero_grad()
    apart = [
        read(
            model,
            torch.cat([words(), part], dim=1),
            **passed({k: torch.cat([x, torch.zeros_like(part)], 1) for k, x in deep(visual=visual).items()}),
        )[:, P:]
        for part in questions.split(S, dim=1)
    ]
    weigh(torch.cat(apart, dim=1)).backward()
    assert torch.allclose(states, torch.cat(apart, dim=1), atol=1e-4)
    assert shared is not None
    assert visual.grad is not None
    assert not shared[:, :D].any(), "what takes the place of embeddings was not used here"
    assert difference({"": shared}, {"": visual.grad}) < 1e-4
    assert difference(weights, named_gradients(model)) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_cached_prefix_gives_its_depths_to_what_is_written(kind: str) -> None:
    model = make_model(**KINDS[kind])
    inject(model.language, AT)
    more = words(2, S)
    none = torch.zeros(2, 0, dtype=torch.long)
    rows, places = Rows(row_cache(model.language), none, none, none), torch.arange(P + S).expand(1, 2, -1)
    rows.read(model, {"inputs_embeds": words(), "deep": deep()}, torch.ones(2, P), places[:, :, :P])
    last = rows.read(model, {"inputs_embeds": more}, torch.ones(2, S), places[:, :, P:])
    whole = {k: torch.cat([x, torch.zeros_like(more)], 1) for k, x in deep().items()}
    assert torch.allclose(
        last, read(model.language, torch.cat([words(), more], 1), **passed(whole))[:, -1], atol=1e-4
    )
    assert not torch.allclose(last, read(model.language, torch.cat([words(), more], 1))[:, -1], atol=1e-2)


@pytest.mark.parametrize(
    ("depths", "reason"),
    [
        ((0, 3), r"adds to language layers \[3\], there are 3, counted from 0"),
        ((-1,), r"adds to language layers \[-1\]"),
        ((1, 1), r"twice: \[1, 1\]"),
    ],
)
def test_layers_that_are_not_there_are_told_at_once(depths: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        language(depths=depths)


def test_a_model_that_tells_its_layers_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(model: Any, **named: Any) -> Any:
        return trial_run(model)

    monkeypatch.setattr(module, "trial_run", forgetful)
    with pytest.raises(
        ConfigError, match=r"adds to language layers \[0, 2\], which this language model tells"
    ):
        language()


def test_nothing_is_kept_between_calls() -> None:
    model = language()
    before = read(model, words())
    read(model, words(), **passed(deep()))
    assert torch.equal(read(model, words()), before)
    assert passed(None) == passed({}) == {}
