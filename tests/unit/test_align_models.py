"""Dual encoders opened by their tensors' names, saved and opened again, and models between two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from align_tools import dual, recipe, silent, stage, train, write_captioned
from training_tools import assert_equal

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import clip_vip, long_clip, open_dual_encoder
from vidapt.loading import locate_dual
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import is_dual_folder, open_dual, save_dual
from vidapt.recipe import DualBlueprint
from vidapt.training.align.interpolate import along, interpolate_folders, interpolated
from vidapt.training.tokenizer import learn_caption_tokenizer


def dual_encoder(
    seed: int = 0, width: int = 64, tower: str = "clip_vip", kept: int | None = None
) -> DualEncoder:
    """Of one head of 64, as published ones have."""
    given = dual()
    arch = {**given["tower"]["arch"], "hidden_size": 64, "num_attention_heads": 1, "projection_dim": 8}
    text = {
        **given["text"]["arch"],
        "hidden_size": 64,
        "num_attention_heads": 1,
        "max_position_embeddings": 24,
        "vocab_size": 300,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    options = {"added": 2, "frames": 3} if tower == "clip_vip" else {"output": "patches"}
    given |= {"tower": {"kind": tower, "arch": arch, **options}, "text": {"arch": text, "kept": kept}}
    torch.manual_seed(seed)
    return DualEncoder(DualBlueprint.model_validate(given)).eval()


@pytest.mark.parametrize(
    ("model", "family", "to_hub"),
    [
        (dual_encoder(), "clip_vip", clip_vip.to_hub),
        (dual_encoder(tower="long_clip"), "long_clip", long_clip.to_hub),
        (dual_encoder(tower="long_clip", kept=20), "long_clip", long_clip.to_hub),
    ],
    ids=["CLIP-ViP", "CLIP", "Long-CLIP"],
)
def test_the_family_is_told_by_the_names_of_tensors(
    tmp_path: Path, model: DualEncoder, family: str, to_hub: object
) -> None:
    assert callable(to_hub)
    torch.save(to_hub(model.state_dict()), tmp_path / "weights.pt")
    for path in (tmp_path / "weights.pt", tmp_path):
        opened, tokenizer, report = open_dual_encoder(path)
        assert report.family == family
        assert tokenizer is None
        assert_equal(opened.state_dict(), model.state_dict())


def test_image_clip_begins_as_published_only_where_it_is_accepted(tmp_path: Path) -> None:
    state = clip_vip.to_hub(dual_encoder().state_dict())
    image = {k: v for k, v in state.items() if not k.endswith(("added_cls", "temporal_embedding"))}
    torch.save(image, tmp_path / "clip.pt")
    model, _, report = open_dual_encoder(tmp_path / "clip.pt")  # as what it is: each frame by itself
    assert (report.family, model.blueprint.tower["kind"]) == ("clip", "frame_vit")
    assert report.initialised == ()
    model, _, report = open_dual_encoder(tmp_path / "clip.pt", accept=["image_clip"])
    assert report.family == "clip_vip"
    assert report.initialised == ("tower.added", "tower.temporal")
    assert not model.tower.temporal.any()
    torch.save(state, tmp_path / "whole.pt")
    assert open_dual_encoder(tmp_path / "whole.pt", accept=["image_clip"])[2].initialised == ()


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="is no dual encoder"):
        open_dual_encoder(tmp_path / "other.pt")


def test_a_saved_dual_encoder_opens_as_it_was(tmp_path: Path) -> None:
    model, tokenizer = dual_encoder(), learn_caption_tokenizer(["a red ball"], 270)
    save_dual(tmp_path / "kept", model, tokenizer, {"why": "a test"})
    assert is_dual_folder(tmp_path / "kept")
    opened, again, report = open_dual_encoder(tmp_path / "kept")
    assert opened.blueprint == model.blueprint
    assert_equal(opened.state_dict(), model.state_dict())
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again("a ball").input_ids == tokenizer("a ball").input_ids
    assert json.loads((tmp_path / "kept" / "card.json").read_text(encoding="utf-8")) == {"why": "a test"}
    assert report.matched == tuple(sorted(model.state_dict()))
    save_dual(tmp_path / "bare", model, None, {})
    assert open_dual(tmp_path / "bare")[1] is None


def test_a_folder_of_other_weights_is_refused(tmp_path: Path) -> None:
    save_dual(tmp_path / "a", dual_encoder(), None, {})
    save_dual(tmp_path / "b", dual_encoder(kept=20), None, {})
    (tmp_path / "b" / "model.safetensors").replace(tmp_path / "a" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"missing: text\.net\.embeddings\.position_embedding\.weight"):
        open_dual(tmp_path / "a")
    (tmp_path / "a" / "dual.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not a blueprint"):
        open_dual(tmp_path / "a")


def test_every_patch_is_projected_as_the_clip_is() -> None:
    model = dual_encoder()
    seen = model.tower(torch.randint(0, 255, (2, 3, 3, 16, 16), dtype=torch.uint8))
    cells = torch.cat([seen.extra, seen.x.flatten(1, 3)], dim=1)
    projected = model.project_cells(cells)
    assert projected.shape == (2, 3 + 12, 8)
    alone = torch.nn.functional.normalize(projected[:, 0], dim=-1)
    assert torch.allclose(alone, model.stand_for(seen), atol=1e-6)
    assert not torch.allclose(projected[:, 1], projected[:, 0], atol=1e-2)


def test_models_between_two_begin_at_the_one_and_end_at_the_other() -> None:
    start, tuned = dual_encoder(0), dual_encoder(1)
    models = dict(along(start, tuned, (0.0, 0.25, 1.0)))
    assert_equal(models[0.0].state_dict(), start.state_dict())
    assert_equal(models[1.0].state_dict(), tuned.state_dict())
    for name, tensor in models[0.25].state_dict().items():
        wanted = 0.75 * start.state_dict()[name].double() + 0.25 * tuned.state_dict()[name].double()
        assert torch.allclose(tensor.double(), wanted, atol=1e-6), name
    with pytest.raises(ConfigError, match="not from 0 to 1"):
        interpolated(start, tuned, 1.1)
    with pytest.raises(CheckpointError, match="the models differ in"):
        interpolated(start, dual_encoder(kept=20), 0.5)


def test_a_run_is_drawn_back_to_its_start(tmp_path: Path) -> None:
    labels = write_captioned(tmp_path / "clips", clips=3)
    first = train(recipe(stage(labels, steps=1), name="first"), tmp_path, silent, workers=0)
    plan = recipe(stage(labels, steps=2), dual=None, start=str(first), name="second")
    second = train(plan, tmp_path, silent, workers=0)
    out = interpolate_folders(first, second, tmp_path / "between", 0.5)
    model, tokenizer, _ = open_dual_encoder(out)
    ends = [open_dual_encoder(locate_dual(run))[0].state_dict() for run in (first, second)]
    for name, tensor in model.state_dict().items():
        assert torch.allclose(tensor, (ends[0][name] + ends[1][name]) / 2, atol=1e-7), name
    assert tokenizer is not None
    with pytest.raises(CheckpointError, match="exists"):
        interpolate_folders(first, second, out, 0.5)


def test_a_short_clip_is_stretched_and_learns_long_texts(tmp_path: Path) -> None:
    torch.save(long_clip.to_hub(dual_encoder(tower="long_clip").state_dict()), tmp_path / "clip.pt")
    labels = write_captioned(tmp_path / "clips")
    tokenizer = tmp_path / "words"
    learn_caption_tokenizer(["red blue green 0 1"], 280).save_pretrained(tokenizer)
    terms = [
        {"kind": "contrastive", "name": "long", "texts": "longest", "smoothing": 0.1},
        {"kind": "contrastive", "name": "short", "texts": "shortest", "components": 2, "smoothing": 0.1},
    ]
    goal = {"kind": "align", "max_scale": 100, "terms": terms}
    pairs = {"tokens": 36, "longer": "truncate", "sentences": True}
    begun = {"dual": None, "start": str(tmp_path / "clip.pt"), "accept": ["short_clip"]}
    rows = [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["caption"] = f"{row['caption']} rolls. and a long tale of it follows here."
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    plan = recipe(stage(labels, objective=goal, pairs=pairs), tokenizer=tokenizer, **begun)
    run = train(plan, tmp_path, silent, workers=0)
    start = open_dual_encoder(tmp_path / "clip.pt", accept=["short_clip"])[0].text.net.embeddings
    learned = open_dual_encoder(locate_dual(run))[0].text.net.embeddings
    first, now = start.position_embedding.weight, learned.position_embedding.weight
    assert len(now) == 20 + 4 * 4
    assert torch.equal(now[:20], first[:20])
    assert not torch.equal(now[20:], first[20:])
    last = json.loads((run / "01-a" / "work" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert {"long", "long/chance", "short", "short/chance"} <= set(last)
