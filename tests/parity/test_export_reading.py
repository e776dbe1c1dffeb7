"""An exported folder says what the model reads of a clip, and who else makes the same of it."""

from __future__ import annotations

import json
from pathlib import Path

import parity_tools as tools
import pytest
import qwen2_vl_tools
import qwen_tools as qwen

from vidapt.hub import export_hf, open_checkpoint
from vidapt.hub._export import READING
from vidapt.hub._qwen import TIMES_3_BEFORE, agrees_2, agrees_3
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import TimeText


def written(folder: Path, model: VideoLM, tokenizer: object) -> dict[str, object]:
    export_hf(folder, model, tokenizer)
    told = json.loads((folder / READING).read_text(encoding="utf-8"))
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5"])
def test_it_says_whose_marks_stand_around_video(tmp_path: Path, family: str) -> None:
    qwen.save(family, qwen.oracle_of(family), tmp_path / "original")
    model, tokenizer, _ = open_checkpoint(tmp_path / "original")
    told = written(tmp_path / "now", model, tokenizer)
    assert told["family"] == family
    assert str(told["compat"]).startswith("transformers 5.10 and later")
    assert told["times"] == model.blueprint.model_dump(mode="json")["times"]
    others = (TIMES_3_BEFORE, "transformers before 5.10"), ({"video": TimeText()}, "no version")
    for times, begins in others:
        other = model.blueprint.model_copy(update={"times": times})
        assert agrees_3(other).startswith(begins)


def test_it_says_whose_positions_stand_behind_video(tmp_path: Path) -> None:
    qwen2_vl_tools.save(qwen2_vl_tools.oracle_of(), tmp_path / "original")
    model, tokenizer, _ = open_checkpoint(tmp_path / "original")
    assert str(written(tmp_path / "now", model, tokenizer)["compat"]).startswith("the paper")
    published = model.blueprint.model_copy(update={"positions": {"kind": "mrope", "compat": "published"}})
    assert agrees_2(published).startswith("transformers 5")


def test_a_family_with_one_spelling_says_nothing_of_others(tmp_path: Path) -> None:
    tools.save(tools.llava(), tmp_path / "original")
    model, tokenizer, _ = open_checkpoint(tmp_path / "original")
    assert "compat" not in written(tmp_path / "now", model, tokenizer)
