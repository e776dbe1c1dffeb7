"""A model asked at several settings: strengths of its adapters, frames, sizes of pictures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from training_tools import recipe, silent, stage, tokenizer, train, video_lm, write_clips
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.formats import open_samples
from vidapt.inference import watch
from vidapt.inference.load import load
from vidapt.measure.evaluate import evaluate
from vidapt.measure.sweeps import FRAMES, SCALE, SIDE, sweep
from vidapt.measure.varied import KeptTokens, ScaledEngine
from vidapt.models.decoding import Decoding
from vidapt.models.folder import save_model

SCALES = (0.0, 0.25, 1.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose adapters learned some questions; `clips` and `others` lie beside it."""
    folder = tmp_path_factory.mktemp("scales")
    labels = write_clips(folder / "clips")
    write_clips(folder / "others", clips=2, questions=2)
    hot = {"rates": {"connector": 1e-2, "language": 3e-2}}
    learned = stage(
        labels, train={"towers": "frozen", "language": "lora"}, optimizer=hot, steps=30, save_every=30
    )
    return train(recipe(learned), folder, silent, workers=0)


def labels_of(run: Path, name: str) -> Path:
    return run.parent / name / "labels.jsonl"


def test_the_command_measures_every_scale_and_chooses_one(run: Path, tmp_path: Path) -> None:
    given = ["--data", str(labels_of(run, "clips")), "--general", str(labels_of(run, "others"))]
    args = ["eval", str(run), *given, "--out", str(tmp_path), "--lora-scale", "0,0.25,1", "--workers", "0"]
    done = CliRunner().invoke(app, [*args, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    assert [row["value"] for row in found["values"]] == list(SCALES)
    sums = {
        row["value"]: sum(row[name]["value"]["value"] for name in found["sets"]) for row in found["values"]
    }
    assert found["best"]["value"] == min(s for s in sums if sums[s] == max(sums.values()))
    assert found["values"][0]["in_domain"]["gain"]["value"] == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "general" in page
    again = CliRunner().invoke(app, args)
    assert again.exit_code == 0, again.output
    assert "export" in again.output


def test_scale_one_is_the_model_and_scale_zero_the_model_without(run: Path, tmp_path: Path) -> None:
    data = labels_of(run, "clips")
    found = sweep(run, SCALE, data, tmp_path / "sweep", SCALES, workers=0, max_tokens=12)
    engine = load(run)
    bare = load(run)
    with torch.no_grad():
        for name, weight in bare.model.named_parameters():
            if ".lora_B" in name:
                weight.zero_()
    for scale, one in ((1.0, engine), (0.0, bare)):
        plain = evaluate(
            one,
            list(open_samples(data)),
            out=tmp_path / f"{scale}",
            decoding=Decoding(max_new_tokens=12),
            controls=(),
            workers=0,
        )
        right = [bool(verdict.right("model")) for verdict in plain.verdicts]
        assert found.found[scale]["in_domain"].value.value == pytest.approx(sum(right) / len(right))
        kept = (
            (tmp_path / "sweep" / "in_domain" / f"lora-scale-{scale:g}" / "predictions.jsonl")
            .read_text()
            .splitlines()
        )
        said = [json.loads(line)["predictions"]["model"] for line in kept[1:]]
        assert Counter(said) == Counter(verdict.predictions["model"] for verdict in plain.verdicts)
    assert engine.fingerprint != bare.fingerprint


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    seen: Counter[str] = Counter()
    each = watch.decode_each

    def decode_each(wanted: Any, **options: Any) -> Any:
        for clip, frames in each(wanted, **options):
            seen[clip.path.name] += 1
            yield clip, frames

    monkeypatch.setattr(watch, "decode_each", decode_each)
    return seen


@pytest.mark.parametrize(("room", "times"), [(1.0, 1), (0.0, 3)])
def test_a_clip_is_seen_once_for_all_scales_as_far_as_there_is_room(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: float, times: int
) -> None:
    monkeypatch.setattr(KeptTokens.__init__, "__defaults__", (room,))
    seen = counted(monkeypatch)
    sweep(run, SCALE, labels_of(run, "others"), tmp_path, SCALES, workers=0, max_tokens=2)
    assert seen == {"0.mp4": times, "1.mp4": times}


def test_adapters_of_towers_are_scaled_too(run: Path, tmp_path: Path) -> None:
    model = video_lm(tower_adapters={"rank": 2, "alpha": 8})
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "towers" in name and ".lora_" in name:
                weight.copy_(torch.randn_like(weight))
    save_model(tmp_path / "model", model, tokenizer(), {})
    engine = load(tmp_path / "model")
    clips = [sample.media[0] for sample in open_samples(labels_of(run, "others"))][::2]
    seen = {
        scale: next(ScaledEngine(engine, scale, None).watch_batches([clips], workers=0, beside=0))
        for scale in SCALES
    }
    plain = next(engine.watch_batches([clips], workers=0))
    assert torch.equal(seen[1.0][0].tokens, plain[0].tokens)
    assert not torch.allclose(seen[0.0][0].tokens, plain[0].tokens)
    assert not torch.allclose(seen[0.25][0].tokens, seen[0.0][0].tokens)


@pytest.mark.parametrize(
    ("listed", "more", "said"),
    [
        ("a,b", [], "no list of numbers"),
        ("-1", [], "not a number from 0 to 10"),
        ("0,1", ["--train-data", "x"], "of no use"),
    ],
)
def test_what_cannot_be_swept_is_refused(
    run: Path, tmp_path: Path, listed: str, more: list[str], said: str
) -> None:
    args = ["eval", str(run), "--data", str(labels_of(run, "clips")), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*args, f"--lora-scale={listed}", *more])
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "out" / "in_domain").exists()


def test_a_model_without_adapters_and_a_general_set_alone_are_refused(run: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "plain", video_lm(), tokenizer(), {})
    data = ["--data", str(labels_of(run, "clips")), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["eval", str(tmp_path / "plain"), *data, "--lora-scale", "0,1"])
    assert done.exit_code == 2
    assert "has no adapters" in done.output
    done = CliRunner().invoke(app, ["eval", str(run), *data, "--general", "x"])
    assert done.exit_code == 2
    assert "goes with --sweep" in done.output


def test_fewer_frames_and_smaller_pictures_are_what_the_model_sees(run: Path, tmp_path: Path) -> None:
    data = labels_of(run, "clips")
    frames = sweep(run, FRAMES, data, tmp_path / "frames", [1, 2], workers=0, max_tokens=4)
    assert frames.tokens[1] < frames.tokens[2]
    assert set(frames.found) == {1, 2}
    assert frames.enough <= frames.best
    engine = load(run)
    clips = [sample.media[0] for sample in open_samples(data)][:1]
    plain = next(engine.watch_batches([clips], workers=0))[0]
    engine.side = 8
    small = next(engine.watch_batches([clips], workers=0))[0]
    assert small.tokens.shape == plain.tokens.shape
    assert not torch.allclose(small.tokens, plain.tokens)
    sides = sweep(run, SIDE, data, tmp_path / "sides", [8, 4096], workers=0, max_tokens=4)
    whole = evaluate(
        load(run),
        list(open_samples(data)),
        out=tmp_path / "whole",
        decoding=Decoding(max_new_tokens=4),
        controls=(),
        workers=0,
    )
    accuracy = whole.arms["model"].accuracy
    assert accuracy is not None
    assert sides.found[4096]["in_domain"].value.value == pytest.approx(accuracy.overall.value)


def test_a_killed_sweep_goes_on_whatever_values_are_added(run: Path, tmp_path: Path) -> None:
    data = labels_of(run, "others")
    one = sweep(run, FRAMES, data, tmp_path, [2], workers=0, max_tokens=2)
    kept = (tmp_path / "in_domain" / "frames-2" / "predictions.jsonl").read_bytes()
    both = sweep(run, FRAMES, data, tmp_path, [1, 2], workers=0, max_tokens=2)
    assert both.found[2]["in_domain"].value == one.found[2]["in_domain"].value
    assert (tmp_path / "in_domain" / "frames-2" / "predictions.jsonl").read_bytes() == kept


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("colour=1", "nothing that can be varied"),
        ("frames=0,2", "not a whole number"),
        ("frames=1.5", "not a whole number"),
        ("resolution=", "no list of numbers"),
    ],
)
def test_what_cannot_be_varied_is_refused(run: Path, tmp_path: Path, told: str, said: str) -> None:
    args = ["eval", str(run), "--data", str(labels_of(run, "clips")), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*args, "--sweep", told])
    assert done.exit_code == 2
    assert said in done.output
    both = CliRunner().invoke(app, [*args, "--sweep", "frames=2", "--lora-scale", "1"])
    assert both.exit_code == 2
    assert "without --lora-scale" in both.output
