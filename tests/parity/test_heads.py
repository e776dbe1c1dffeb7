"""Files that do not tell their heads open with other ones than published, and blueprints can be edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import clip_tools as clip
import dual_tools as vip
import hilight_tools as hilight
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import clip as image_clip
from vidapt.hub import clip_vip, long_clip, open_checkpoint, open_dual_encoder
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.recipe import DualBlueprint
from vidapt.video.choose import Uniform

TO_HUB = {"clip": image_clip.to_hub, "clip_vip": clip_vip.to_hub, "long_clip": long_clip.to_hub}


def tiny(family: str) -> DualEncoder:
    """Widths of 24 and 12, in 3 and 2 heads."""
    small = {"intermediate_size": 20, "num_hidden_layers": 2, "hidden_act": "quick_gelu"}
    vision = {"hidden_size": 24, "num_attention_heads": 3, "image_size": 8, "patch_size": 4, **small}
    vision |= {"projection_dim": 6, "model_type": "clip_vision_model"}
    text = {"hidden_size": 12, "num_attention_heads": 2, "vocab_size": 40, "max_position_embeddings": 16}
    text |= {
        "model_type": "clip_text_model",
        "bos_token_id": 1,
        "eos_token_id": 39,
        "pad_token_id": 0,
        **small,
    }
    towers: dict[str, dict[str, Any]] = {
        "clip": {"kind": "frame_vit", "layer": -1, "drop_class_token": False},
        "clip_vip": {"kind": "clip_vip", "added": 2, "frames": 3},
        "long_clip": {"kind": "long_clip", "output": "patches"},
    }
    given = {"tower": {**towers[family], "arch": vision}, "text": {"arch": text}, "width": 6}
    torch.manual_seed(0)
    model = DualEncoder(DualBlueprint.model_validate(given))
    clip.shake(model, 0.2)
    return model


@pytest.mark.parametrize("family", TO_HUB)
def test_a_file_of_other_heads_computes_as_what_was_saved(tmp_path: Path, family: str) -> None:
    model = tiny(family)
    torch.save(TO_HUB[family](model.state_dict()), tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"a width of 24 does not split into heads of 64") as told:
        open_dual_encoder(tmp_path / "weights.pt")
    assert "heads=" in told.value.remedy
    opened, _, report = open_dual_encoder(tmp_path / "weights.pt", heads=(3, 2))
    assert report.family == family
    views, ids = clip.film(2, 3, 8), vip.captions()
    torch.testing.assert_close(opened(views, ids), model(views, ids))
    other, _, _ = open_dual_encoder(tmp_path / "weights.pt", heads=(2, 3))
    assert (other(views, ids) - model(views, ids)).abs().max() > 1e-2
    with pytest.raises(CheckpointError, match="a width of 24 does not split into 5 heads"):
        open_dual_encoder(tmp_path / "weights.pt", heads=(5, 2))


def test_heads_that_are_given_are_those_of_the_equations(tmp_path: Path) -> None:
    torch.save(vip.authors(), tmp_path / "clipvip.pt")
    model, _, _ = open_dual_encoder(tmp_path / "clipvip.pt", heads=(4, 2))
    views, ids = clip.film(2, vip.FRAMES, vip.SIDE), vip.captions()
    right = vip.equations(vip.authors(), views, ids, (4, 2))
    torch.testing.assert_close(model(views, ids).double(), right, atol=vip.TOLERANCE, rtol=0)
    assert (right - vip.equations(vip.authors(), views, ids)).abs().max() > 100 * vip.TOLERANCE


def test_heads_that_are_known_are_not_to_be_given(tmp_path: Path) -> None:
    sizes = {"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 3}
    vision = {**sizes, "image_size": 8, "patch_size": 4}
    text = {**sizes, "vocab_size": 40, "max_position_embeddings": 16, "eos_token_id": 39, "bos_token_id": 1}
    config = CLIPConfig(vision_config=vision, text_config=text, projection_dim=6)
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    assert open_dual_encoder(tmp_path / "clip")[0].tower.cfg.arch["num_attention_heads"] == 3
    with pytest.raises(ConfigError, match=r"heads: are told by .*config\.json"):
        open_dual_encoder(tmp_path / "clip", heads=(3, 3))
    save_dual(tmp_path / "own", tiny("clip_vip"), None, {})
    with pytest.raises(ConfigError, match="heads: are told by the folder"):
        open_dual_encoder(tmp_path / "own", heads=(3, 2))


@pytest.mark.parametrize("own", [False, True], ids=["published", "own"])
@pytest.mark.parametrize("family", TO_HUB)
def test_a_blueprint_is_edited_before_the_model_is_built(tmp_path: Path, family: str, *, own: bool) -> None:
    model = tiny(family)
    options: dict[str, Any] = {} if own else {"heads": (3, 2)}
    if own:
        save_dual(tmp_path / "weights.pt", model, None, {})
    else:
        torch.save(TO_HUB[family](model.state_dict()), tmp_path / "weights.pt")

    def edit(plan: DualBlueprint) -> DualBlueprint:
        tower = {**plan.tower, "arch": {**plan.tower["arch"], "layer_norm_eps": 0.5}}
        return plan.model_copy(update={"frames": Uniform(count=5), "tower": tower})

    opened, _, _ = open_dual_encoder(tmp_path / "weights.pt", edit=edit, **options)
    assert opened.blueprint.frames == Uniform(count=5)
    views = clip.film(1, 2, 8)
    assert (opened.encode_video(views) - model.encode_video(views)).abs().max() > 1e-2

    def wider(plan: DualBlueprint) -> DualBlueprint:
        return plan.model_copy(update={"width": 7})

    with pytest.raises(CheckpointError, match="text_projection"):
        open_dual_encoder(tmp_path / "weights.pt", edit=wider, **options)


def test_hilights_towers_may_have_other_heads(tmp_path: Path) -> None:
    original = hilight.Original()
    folder = original.write(tmp_path)
    described = json.loads((folder / "config.json").read_text())
    described |= {"mm_vision_tower_heads": 4, "mm_vision_tower_aux_heads": 1}
    (folder / "config.json").write_text(json.dumps(described))
    model, _, _ = open_checkpoint(folder)
    film = clip.film(1, 3, 8)
    with torch.no_grad():
        seen = model.towers[0](film)
        feature = model.towers[1](film).x.flatten()
    right = clip.clip_vip_states(film[0], original.tower, "tower", heads=4)
    cells = right[1 + hilight.ADDED :].reshape(seen.x[0].shape)
    torch.testing.assert_close(seen.x[0].double(), cells, atol=1e-4, rtol=0)
    assert (right - clip.clip_vip_states(film[0], original.tower, "tower", heads=2)).abs().max() > 1e-2
    assert [tower.cfg.arch["num_attention_heads"] for tower in model.towers] == [4, 1]
    assert feature.isfinite().all()
    (folder / "config.json").write_text(json.dumps(described | {"mm_vision_tower_heads": "4"}))
    with pytest.raises(CheckpointError, match="`mm_vision_tower_heads` is '4'"):
        open_checkpoint(folder)
