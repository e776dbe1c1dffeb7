"""What a recipe says of a step reaches the step: take a setting away and one of these fails."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from training_tools import (
    assert_equal,
    blueprint,
    recipe,
    silent,
    stage,
    tokenizer,
    trained,
    video_lm,
    write_clips,
)

from vidapt.inference.engine import Engine
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip, Sample, Turn
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Batching, Cache, DataSource, LoRA, Optimizer, Prompt, Rates, Trained
from vidapt.training import stage as training_stage
from vidapt.training.batch import StageBatch
from vidapt.training.data import group_by_clip, read_samples
from vidapt.training.footage import Footage
from vidapt.training.freeze import set_trainable, training_mode
from vidapt.training.optimizer import make_optimizer
from vidapt.training.order import Order, Visit
from vidapt.training.run import train

ADAPTED = {"language": "lora", "lora": {"rank": 2, "alpha": 4.0, "dropout": 0.5}}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips", clips=2, questions=2)


def changed(labels: Path, runs: Path, **changes: Any) -> dict[str, Tensor]:
    return trained(recipe(stage(labels, steps=3, **changes)), runs)


def differ(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return any(not torch.equal(left[key], right[key]) for key in left)


def test_dropout_of_adapters_falls_in_training_and_not_after_it() -> None:
    model = video_lm()
    learns = Trained.model_validate(ADAPTED)
    set_trainable(model, learns)
    dropouts = [m for m in model.language.modules() if isinstance(m, nn.Dropout) and m.p == 0.5]
    assert len(dropouts) == 14, "one in front of each adapted layer"
    training_mode(model, learns)
    assert all(dropout.training for dropout in dropouts)
    model.eval()
    assert not any(dropout.training for dropout in dropouts)


def test_dropout_of_adapters_changes_what_is_learned(labels: Path, tmp_path: Path) -> None:
    without = {**ADAPTED, "lora": {**ADAPTED["lora"], "dropout": 0.0}}  # type: ignore[dict-item]
    wet = changed(labels, tmp_path / "wet", train=ADAPTED)
    dry = changed(labels, tmp_path / "dry", train=without)
    assert_equal(dry, changed(labels, tmp_path / "again", train=without))
    assert differ(wet, dry)


def of_types(clips: int) -> list[Sample]:
    media = [Clip(f"{index}", Path(f"{index}.mp4")) for index in range(clips)]
    return [
        Sample(
            f"{clip.id} {kind}",
            (clip,),
            (Turn("user", f"{kind}?"), Turn("assistant", "yes")),
            facts={"type": kind},
        )
        for clip in media
        for kind in ("often", "rare", "never", "always")
    ]


def test_a_type_is_asked_as_often_as_its_share_says() -> None:
    clips = group_by_clip(of_types(200), Prompt(), tokenizer(), max_answer_tokens=9)
    batching = Batching.model_validate(
        {"clips": 10, "questions": 4, "share": {"often": 0.75, "rare": 0.25, "never": 0.0}}
    )
    order = Order(clips, batching, (0, 0))
    counts: Counter[str] = Counter()
    for number in range(20):
        for visit in order.step(number):
            samples = clips[visit.clip].samples
            counts.update(str(samples[index].facts["type"]) for index in visit.samples)
    assert counts["always"] == 200
    assert counts["never"] == 0
    assert 120 < counts["often"] < 180
    assert 25 < counts["rare"] < 80


def test_bfloat16_is_what_a_step_computes_in(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats: list[torch.dtype] = []
    forward = NextToken.forward

    def heard(self: NextToken, model: Any, batch: Any) -> Any:
        hook = model.language.base_model.layers[0].mlp.down_proj.register_forward_hook(
            lambda module, given, made: formats.append(made.dtype)
        )
        try:
            return forward(self, model, batch)
        finally:
            hook.remove()

    monkeypatch.setattr(NextToken, "forward", heard)
    for precision, wanted in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        formats.clear()
        plan = recipe(stage(labels, steps=1, precision=precision), name=precision)
        run = train(plan, tmp_path / "runs", silent, workers=0)
        assert set(formats) == {wanted}
        assert (run / "01-a" / "model").is_dir()


def test_weights_stay_in_float32_while_a_step_computes_in_bfloat16(labels: Path, tmp_path: Path) -> None:
    half = changed(labels, tmp_path / "half", precision="bfloat16")
    assert {tensor.dtype for tensor in half.values()} == {torch.float32}
    assert differ(half, changed(labels, tmp_path / "whole"))


def says(model: Any, token: int) -> None:
    """Make a model say one token forever."""
    head = model.language.get_output_embeddings()
    bias = torch.zeros(head.weight.shape[0])
    bias[token] = 1e9
    head.register_forward_hook(lambda module, given, made: made + bias)


def test_the_prompts_end_ends_an_answer_although_it_is_not_the_tokenizers() -> None:
    words = tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<|over|>"]})
    over, end = words.convert_tokens_to_ids("<|over|>"), words.eos_token_id
    assert over != end
    model = video_lm(prompt={"end": "<|over|>"}, language={"vocab_size": len(words)})
    engine = Engine(model, words, "tiny")
    assert set(engine.stops) == {over, end}
    says(model, over)
    ((answer,),) = engine.answer([((), ["what is it?"])], Decoding(max_new_tokens=8))
    assert answer.ended
    assert engine.text(answer) == ""
    assert len(answer.ids) <= 1


def test_betas_weight_decay_and_rates_are_the_optimizers() -> None:
    model = video_lm()
    model.requires_grad_(True)
    settings = Optimizer(betas=(0.7, 0.8), weight_decay=0.3, rates=Rates(towers=1e-5, connector=2e-4))
    optimizer = make_optimizer(model, NextToken(NextToken.Config()), settings)
    assert {tuple(group["betas"]) for group in optimizer.param_groups} == {(0.7, 0.8)}
    rates = {group["part"]: group["lr"] for group in optimizer.param_groups}
    assert (rates["towers"], rates["connector"]) == (1e-5, 2e-4)
    for group in optimizer.param_groups:
        flat = {weight.ndim <= 1 for weight in group["params"]}
        assert flat == {group["weight_decay"] == 0.0}
        assert group["weight_decay"] in (0.0, 0.3)


def test_betas_change_what_is_learned(labels: Path, tmp_path: Path) -> None:
    quick = changed(labels, tmp_path / "quick", optimizer={"betas": [0.0, 0.5]})
    assert differ(quick, changed(labels, tmp_path / "slow", optimizer={"betas": [0.95, 0.999]}))


def test_a_gradient_is_cut_to_the_length_asked_for(labels: Path, tmp_path: Path) -> None:
    """So short that AdamW's epsilon stands above it, and hardly anything is learned."""
    rates = {"towers": 1e-30, "connector": 1e-2, "language": 1e-30}
    begun = changed(labels, tmp_path / "begun", optimizer={"rates": dict.fromkeys(rates, 1e-30)})
    free = changed(labels, tmp_path / "free", optimizer={"rates": rates, "clip_norm": 1e9})
    cut = changed(labels, tmp_path / "cut", optimizer={"rates": rates, "clip_norm": 1e-12})
    key = "connector.mlp.0.weight"
    moved, stayed = ((one[key] - begun[key]).abs().max() for one in (free, cut))
    assert stayed < moved / 100


def test_lora_has_the_scale_and_the_layers_asked_for() -> None:
    model = video_lm()
    given = LoRA(rank=2, alpha=6.0, targets=("q_proj",))
    set_trainable(model, Trained(language="lora", lora=given))
    adapted = [m for name, m in model.language.named_modules() if hasattr(m, "lora_A")]
    assert len(adapted) == 2
    assert {m.scaling["default"] for m in adapted} == {3.0}
    learning = {name for name, weight in model.language.named_parameters() if weight.requires_grad}
    assert all("lora_" in name and "q_proj" in name for name in learning)
    assert len(learning) == 4


def test_a_share_of_visits_is_asked_without_the_clip_and_asks_the_same() -> None:
    clips = group_by_clip(of_types(200), Prompt(), tokenizer(), max_answer_tokens=9)
    batching = Batching.model_validate({"clips": 10, "questions": 2})
    seeing, half = Order(clips, batching, (0, 0)), Order(clips, batching, (0, 0), 0.5)
    visits = [
        (a, b) for number in range(20) for a, b in zip(seeing.step(number), half.step(number), strict=True)
    ]
    assert [(b.clip, b.samples) for _, b in visits] == [(a.clip, a.samples) for a, _ in visits]
    assert not any(a.blind for a, _ in visits)
    assert 70 < sum(b.blind for _, b in visits) < 130


@pytest.mark.parametrize("shared", [True, False])
def test_a_blind_visit_reads_what_the_blind_control_asks(labels: Path, shared: bool) -> None:
    model, words = video_lm(), tokenizer()
    (seen, other) = group_by_clip(read_samples([DataSource(path=labels)]), model.blueprint.prompt, words, 99)
    keep = Cache(keep="nothing")
    footage = Footage(model, keep, labels.parent, tower_trains=False, needs_views=False, workers=0)
    footage.prepare([(clip, 1) for one in (seen, other) for clip in one.media], lambda done, total: None)
    batching = Batching(shared_prefix=shared)
    visits = [Visit(0, (0, 1), blind=True), Visit(1, (0,))]
    batch = StageBatch(model, words, footage, [seen, other], visits, {}, batching)
    assert [clip for clip, _ in batch.media] == list(other.media)
    question = seen.samples[0].question.replace("<video>", "").strip()
    alone = Engine(model, words, "tiny").encoded(question, seen.samples[0].answer)
    row = batch.packed.ids[0].tolist()
    assert list(alone.ids) in [row[at : at + len(alone.ids)] for at in range(len(row))]
    loss = NextToken(NextToken.Config())(model, batch)
    assert loss.weight == sum(e.labels for e in (*seen.encoded[:2], other.encoded[0]))
    assert loss.total.isfinite()


def test_a_step_of_blind_visits_alone_is_learned_from(labels: Path, tmp_path: Path) -> None:
    seeing = changed(labels, tmp_path / "seeing", batching={"clips": 2, "blind": 0.0})
    blind = changed(labels, tmp_path / "blind", batching={"clips": 2, "blind": 0.999})
    assert differ(seeing, blind)
    connector = [key for key in blind if key.startswith("connector.")]
    still = {"rates": {"connector": 1e-2, "language": 1e-30}}
    other = changed(labels, tmp_path / "o", batching={"clips": 2, "blind": 0.999}, optimizer=still)
    assert all(torch.equal(other[key], blind[key]) for key in connector), "nothing was seen, nothing learned"


def test_a_model_tells_whether_it_was_trained_blind(labels: Path, tmp_path: Path) -> None:
    def card(**changes: Any) -> dict[str, Any]:
        plan = recipe(stage(labels, steps=1, **changes), name=f"run{len(changes)}")
        run = train(plan, tmp_path / "runs", silent, workers=0)
        return dict(json.loads((run / "01-a" / "model" / "card.json").read_text(encoding="utf-8")))

    assert card()["blind"] == 0.05
    assert card(train={"language": "frozen"})["blind"] == 0.0


def test_what_a_stage_draws_depends_on_the_seed_alone(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = training_stage.make_optimizer

    def drawing(numbers: int) -> Callable[..., Any]:
        def make(*given: Any) -> Any:
            torch.rand(numbers)  # as a part of somebody's own might
            return made(*given)

        return make

    found = []
    for numbers in (1, 2):
        monkeypatch.setattr(training_stage, "make_optimizer", drawing(numbers))
        found.append(changed(labels, tmp_path / str(numbers), train=ADAPTED))
    assert_equal(*found)


@pytest.mark.parametrize("order", ["pool_first", "connector_first"])
def test_features_are_kept_pooled_where_pooling_comes_first(labels: Path, tmp_path: Path, order: str) -> None:
    """Nothing that the objective looks at is lost, and a quarter is kept."""
    resolution = {"kind": "framed", "pool": "average", "order": order}
    frozen = {"train": {"towers": "frozen"}, "optimizer": {"rates": {"connector": 1e-2, "language": 1e-2}}}
    trained(recipe(stage(labels, steps=1, **frozen), blueprint=blueprint(resolution=resolution)), tmp_path)
    shapes = {
        tuple(tensor.shape)
        for shard in tmp_path.rglob("features-*/*.safetensors")
        for name, tensor in load_file(shard).items()
        if name.endswith(".x")
    }
    side = 2 if order == "pool_first" else 4
    assert shapes == {(3, side, side, 16)}
