"""What models do at the edges of their input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from align_tools import dual
from tokenizers import normalizers
from torch import nn
from training_tools import tokenizer, video_lm

from vidapt.errors import CheckpointError, ConfigError
from vidapt.models import depths, visual_side
from vidapt.models._text_tower import TwoTables
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.folder import BLUEPRINT, read_blueprint
from vidapt.recipe import DualBlueprint
from vidapt.training import begin

IN_DECODER = {"kind": "whole", "fit": "squash", "filter": "area", "in_decoder": True}


def test_a_folder_without_a_blueprint_is_told_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"holds no {BLUEPRINT}") as told:
        read_blueprint(tmp_path)
    assert "give the folder of a vidapt model or run" in str(told.value)
    (tmp_path / BLUEPRINT).write_text(json.dumps({"towers": []}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="is not a blueprint"):
        read_blueprint(tmp_path)


@pytest.mark.parametrize(
    ("video", "size"),
    [
        (IN_DECODER, (16, 16)),
        ({"kind": "framed", "fit": "pad"}, None),  # of another way to cut the decoder cannot know
        ({"kind": "native", "factor": 4, "min_pixels": 64, "max_pixels": 256}, None),
    ],
)
def test_the_decoder_resizes_where_all_scenes_let_it(
    video: dict[str, object], size: tuple[int, int] | None
) -> None:
    model = video_lm(resolution=IN_DECODER, scenes={"video": video})
    assert model.decode_size == size


def test_layouts_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visual_side, "_LAYOUTS", 2)
    model = video_lm()
    for frames in (1, 2, 3, 4):
        assert model.plan((16, 16), frames)[1]
        assert 1 <= len(model._layouts) <= 2
    held = dict(model._layouts)
    model.plan((16, 16), 4)
    assert model._layouts == held


def test_layers_are_the_list_of_as_many_modules_as_the_model_has_layers() -> None:
    model = video_lm(language={"num_hidden_layers": 3})
    layers = depths._layers(model.language)
    assert layers is model.language.model.layers
    base = model.language.model
    base.others = nn.ModuleList([nn.Identity()] * 2)
    base.hidden = nn.Module()
    base.hidden.layers, base.layers = layers, nn.ModuleList()
    assert depths._layers(model.language) is layers
    base.hidden.layers = nn.ModuleList([nn.Identity()])
    with pytest.raises(ConfigError, match="no list of layers is found"):
        depths._layers(model.language)


def test_the_rows_of_two_tables_begin_small_and_equal() -> None:
    torch.manual_seed(0)
    table = TwoTables(200, 50, kept=20)
    assert torch.equal(table.first, table.rest)
    assert float(table.first.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert float(table.first.detach().mean().abs()) < 0.001


def test_a_dual_encoder_cuts_clips_that_are_no_squares() -> None:
    given = {**dual(), "resolution": {"kind": "native", "factor": 4, "min_pixels": 64, "max_pixels": 1024}}
    model = DualEncoder(DualBlueprint.model_validate(given))
    pixels = torch.randint(0, 255, (4, 20, 36, 3), dtype=torch.uint8)
    plan = model.plan((20, 36), 4)
    (view,) = plan.views
    assert model.cut(pixels).shape == (1, 4, 3, *view.size)


def test_what_a_run_begins_with_is_told_by_all_of_its_tokenizer() -> None:
    """Of two with the same words one may write them otherwise."""
    plain, lower = tokenizer(), tokenizer()
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert plain.get_vocab() == lower.get_vocab()
    model = video_lm()
    told = [begin._description(model.blueprint, one) for one in (plain, tokenizer(), lower)]
    assert told[0] == told[1] != told[2]
