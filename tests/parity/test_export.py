"""What `vidapt export` writes opens elsewhere and gives the same logits."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import parity_tools as tools
import pytest
import torch
from transformers import LlavaForConditionalGeneration
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError
from vidapt.hub import open_checkpoint
from vidapt.loading import export_model, open_model
from vidapt.models.folder import save_model
from vidapt.models.lora import add_adapters
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import LoRA

CLIP = tools.film(1, 28, 28)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tools.save(tools.llava(), tmp_path_factory.mktemp("published"))


@pytest.fixture
def adapted(published: Path, tmp_path: Path) -> Path:
    """A model's folder after a stage that trained the connector and low-rank adapters."""
    model, tokenizer, _ = open_checkpoint(published)
    lora = LoRA(rank=2, alpha=4)
    add_adapters(model.language, lora)
    model.blueprint = model.blueprint.model_copy(update={"adapters": lora})
    torch.manual_seed(0)
    with torch.no_grad():
        model.connector.mlp[0].bias += 0.5
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.3)
    save_model(tmp_path / "adapted", model, tokenizer, {})
    return tmp_path / "adapted"


def their_logits(folder: Path) -> torch.Tensor:
    back, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids = tools.their_ids([tools.CELLS**2], tools.IMAGE)
    with torch.no_grad():
        return tools.at_after(back.eval()(input_ids=ids, pixel_values=tools.their_pixels(CLIP)).logits)


def opened(folder: Path) -> VideoLM:
    return open_model(folder)[0]


def test_an_adapted_model_opens_in_transformers_with_equal_logits(adapted: Path, tmp_path: Path) -> None:
    export_model(adapted, tmp_path / "hf", to="hf", dtype="float32")
    expected = tools.our_logits(opened(adapted), [[CLIP]])
    torch.testing.assert_close(their_logits(tmp_path / "hf"), expected, atol=tools.TOLERANCE, rtol=0)
    again = tools.our_logits(opened(tmp_path / "hf"), [[CLIP]])
    torch.testing.assert_close(again, expected, atol=tools.TOLERANCE, rtol=0)


def test_adapters_matter_to_that_comparison(adapted: Path, published: Path) -> None:
    difference = tools.our_logits(opened(adapted), [[CLIP]]) - tools.our_logits(opened(published), [[CLIP]])
    assert difference.abs().max() > 100 * tools.TOLERANCE


def test_merging_keeps_the_logits_and_drops_the_adapters(adapted: Path, tmp_path: Path) -> None:
    export_model(adapted, tmp_path / "merged", to="merged", dtype="float32")
    merged = opened(tmp_path / "merged")
    assert merged.blueprint.adapters is None
    assert not [name for name, _ in merged.named_parameters() if "lora_" in name]
    expected = tools.our_logits(opened(adapted), [[CLIP]])
    torch.testing.assert_close(tools.our_logits(merged, [[CLIP]]), expected, atol=tools.TOLERANCE, rtol=0)


def test_half_precision_halves_the_file(adapted: Path, tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        export_model(adapted, tmp_path / dtype, to="hf", dtype=dtype)
    sizes = [(tmp_path / dtype / "model.safetensors").stat().st_size for dtype in ("float32", "bfloat16")]
    assert sizes[1] < 0.7 * sizes[0]


def test_a_model_made_here_has_no_published_layout(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--to merged"):
        export_model("billiards-home", tmp_path / "out", to="hf", dtype="float32")


def test_an_existing_folder_is_refused(adapted: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="exists"):
        export_model(adapted, tmp_path, to="hf", dtype="float32")


def test_the_commands_exist(adapted: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["export", str(adapted), "--out", str(tmp_path / "hf")])
    assert run.exit_code == 0, run.output
    assert (tmp_path / "hf" / "config.json").is_file()
    listed = CliRunner().invoke(app, ["families", "--json"])
    assert listed.exit_code == 0, listed.output
    assert '"llava"' in listed.output


def test_a_hub_name_is_fetched_without_anything_that_runs(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def fetch(name: str, *, allow_patterns: list[str]) -> str:
        asked.update(name=name, patterns=allow_patterns)
        return str(published)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    reports: list[str] = []
    open_model("someone/llava-tiny", tell=lambda report: reports.append(report.line()))
    assert asked["name"] == "someone/llava-tiny"
    assert not [p for p in asked["patterns"] if p.endswith((".py", ".bin", ".pt"))]  # type: ignore[attr-defined]
    assert "0 missing, 0 unexpected" in reports[0]


def test_a_hub_name_that_cannot_be_fetched_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, **_: object) -> str:
        raise OSError(f"no connection for {name}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(CheckpointError, match="no connection for someone/absent"):
        open_model("someone/absent")
