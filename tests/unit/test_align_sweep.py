"""Models between a start and what was made of it: measured, chosen, written, and refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from align_tools import dual, recipe, silent, stage, train, write_captioned
from test_align_models import dual_encoder
from training_tools import assert_equal

from vidapt.errors import CheckpointError, ConfigError, FormatError
from vidapt.hub import clip_vip, open_dual_encoder
from vidapt.loading import locate_dual
from vidapt.metrics.retrieval import BothWays, both_ways
from vidapt.models.dual_folder import save_dual
from vidapt.nouns import Clip
from vidapt.recipe import Cache, DataSource
from vidapt.training import footage
from vidapt.training.align.captions import ClipCaptions, caption_clips
from vidapt.training.align.ends import Ends, ends_of
from vidapt.training.align.eyes import DualEyes
from vidapt.training.align.interpolate import interpolated
from vidapt.training.align.names import SWEEP
from vidapt.training.align.retrieve import cosines
from vidapt.training.data import read_samples
from vidapt.training.footage import Footage
from vidapt.training.sweep.retrieval import Retrieving
from vidapt.training.sweep.swept import Swept
from vidapt.training.sweep.swept import sweep as measure

WAYS = ("to_text", "to_video")

Sweep = Swept[ClipCaptions, BothWays]


def sweep(ends: Ends, *arguments: Any, **options: Any) -> Sweep:
    return measure(Retrieving(ends), ends, *arguments, **options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `first`, made from nothing, and `second`, tuned from it; labels `here` and `there`."""
    folder = tmp_path_factory.mktemp("runs")
    here = write_captioned(folder / "here")
    there = write_captioned(folder / "there", clips=4)
    sets = {"in_domain": str(here), "general": str(there)}
    learned = stage(here, steps=10, batching={"clips": 6}, retrieval=sets)
    first = train(recipe(learned, name="first"), folder, silent, workers=0)
    plan = recipe(learned, dual=None, start=str(first), name="second")
    train(plan, folder, silent, workers=0)
    return folder


def swept(runs: Path, *shares: float, **options: Any) -> Sweep:
    return sweep(ends_of([str(runs / "second")]), shares, {}, workers=0, report=silent, **options)


def plainly(runs: Path, run: str, labels: str) -> dict[str, Any]:
    """Retrieval of a run's model, clip by clip and without a cache."""
    model, tokenizer, _ = open_dual_encoder(locate_dual(runs / run))
    source = DataSource(path=runs / labels / "labels.jsonl")
    pairs = recipe(stage(source.path)).stages[0].pairs
    clips = caption_clips(read_samples([source]), pairs, tokenizer, model.text.positions).clips
    eyes = Footage(
        DualEyes(model),
        Cache(keep="nothing"),
        runs / "unused",
        tower_trains=True,
        needs_views=True,
        workers=0,
    )
    return both_ways(*cosines(model, eyes, clips, 6)).to_dict()


def test_both_ends_have_exactly_the_numbers_of_the_two_models(runs: Path) -> None:
    found = swept(runs, 0.0, 0.5, 1.0).found
    assert list(found) == [0.0, 0.5, 1.0]
    for share, run in ((0.0, "first"), (1.0, "second")):
        for name, labels in (("in_domain", "here"), ("general", "there")):
            assert found[share][name].to_dict() == plainly(runs, run, labels)
    assert found[0.0] != found[1.0]


def test_both_ends_are_what_training_logged_first_and_last(runs: Path) -> None:
    found = swept(runs, 0.0, 1.0).found
    log = (runs / "second" / "01-a" / "work" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    for share, line in ((0.0, log[0]), (1.0, log[-1])):
        row = json.loads(line)
        for name in ("in_domain", "general"):
            told = found[share][name].to_dict()
            for way in WAYS:
                for key in ("recall@1", "recall@5", "median_rank", "mean_rank"):
                    assert row[f"{name}/{way}/{key}"] == pytest.approx(told[way][key], abs=1e-6)


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each clip is decoded from now on."""
    seen: Counter[str] = Counter()
    ahead, alone = footage.decode_ahead, footage.decode

    def decode_ahead(clips: Iterable[Clip], *rest: Any, **options: Any) -> Iterator[Any]:
        for clip, frames in ahead(clips, *rest, **options):
            seen[str(clip.path)] += 1
            yield clip, frames

    def decode(clip: Clip, *rest: Any, **options: Any) -> Any:
        seen[str(clip.path)] += 1
        return alone(clip, *rest, **options)

    monkeypatch.setattr(footage, "decode_ahead", decode_ahead)
    monkeypatch.setattr(footage, "decode", decode)
    return seen


def test_clips_that_training_kept_are_not_decoded_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = counted(monkeypatch)
    swept(runs, 0.0, 0.5, 1.0)
    assert not seen


def test_each_clip_is_decoded_once_for_all_shares(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, _ = open_dual_encoder(locate_dual(runs / "second"))
    save_dual(tmp_path / "tuned", model, tokenizer, {})
    labels = write_captioned(tmp_path / "clips", clips=3)
    ends = ends_of([str(runs / "first"), str(tmp_path / "tuned")])
    seen = counted(monkeypatch)
    given = {name: [DataSource(path=labels)] for name in ("in_domain", "general")}
    sweep(ends, (0.0, 0.25, 1.0), given, workers=0, report=silent)
    assert seen == {str(labels.parent / f"{clip}.mp4"): 1 for clip in range(3)}


def test_the_best_share_is_written_with_its_numbers_and_rule(runs: Path, tmp_path: Path) -> None:
    done = swept(runs, 1.0, 0.0, 0.5, out=tmp_path / "best")
    scores = {
        share: (
            sum(found[way]["recall@1"] for found in sets for way in WAYS),
            -sum(found[way]["mean_rank"] for found in sets for way in WAYS),
        )
        for share, sets in (
            (share, [one.to_dict() for one in by_set.values()]) for share, by_set in done.found.items()
        )
    }
    assert scores[done.best] == max(scores.values())
    first, second, _ = done.ends.open()
    kept, tokenizer, _ = open_dual_encoder(tmp_path / "best")
    assert_equal(kept.state_dict(), interpolated(first, second, done.best).state_dict())
    assert tokenizer is not None
    card = json.loads((tmp_path / "best" / "card.json").read_text(encoding="utf-8"))
    assert card["share"] == done.best
    assert card["between"] == [str(runs / "first"), str(runs / "second")]
    assert card["measured"]["general"] == done.found[done.best]["general"].to_dict()
    assert json.loads((runs / "second" / SWEEP).read_text(encoding="utf-8")) == done.to_dict()


def test_of_equally_good_shares_the_smallest_is_taken(runs: Path) -> None:
    ends = ends_of([str(runs / "second"), str(runs / "second")])
    assert sweep(ends, (1.0, 0.25, 0.5), {}, workers=0, report=silent).best == 0.25


def test_sets_that_are_given_take_the_place_of_the_runs(runs: Path) -> None:
    given = {"general": [DataSource(path=runs / "here" / "labels.jsonl", limit=2)]}
    done = sweep(ends_of([str(runs / "second")]), (1.0,), given, workers=0, report=silent)
    assert done.sizes == {
        "in_domain": {"clips": 6, "texts": 12},
        "general": {"clips": 2, "texts": 4},
    }


def test_a_kept_best_model_knows_its_run(runs: Path) -> None:
    ends = ends_of([str(runs / "second" / "01-a" / "best-general")])
    assert ends.run == runs / "second"
    assert ends.start == str(runs / "first")
    assert ends.stage is not None


def test_what_began_at_random_begins_as_it_did_in_the_run(runs: Path, tmp_path: Path) -> None:
    state = clip_vip.to_hub(dual_encoder().state_dict())
    lacking = {k: v for k, v in state.items() if not k.endswith(("added_cls", "temporal_embedding"))}
    torch.save(lacking, tmp_path / "clip.pt")
    learned = stage(runs / "here" / "labels.jsonl")
    plan = recipe(learned, dual=None, start=str(tmp_path / "clip.pt"), accept=["image_clip"], seed=3)
    run = tmp_path / "run"
    save_dual(run / "01-a" / "model", dual_encoder(1), None, {})
    (run / "run.json").write_text(json.dumps({"finished": ["01-a"]}), encoding="utf-8")
    (run / "recipe.json").write_text(plan.model_dump_json(), encoding="utf-8")
    first, *_ = ends_of([str(run)]).open()
    begun = [open_dual_encoder(tmp_path / "clip.pt", accept=["image_clip"], seed=seed)[0] for seed in (3, 0)]
    assert_equal(first.state_dict(), begun[0].state_dict())
    assert not torch.equal(first.tower.added, begun[1].tower.added)
    # Where no run is named, a recipe's own beginning is meant that says no seed.
    named, *_ = Ends(str(tmp_path / "clip.pt"), str(run / "01-a" / "model"), ["image_clip"]).open()
    assert_equal(named.state_dict(), begun[1].state_dict())


def test_a_broken_clip_is_left_out_and_told_of(runs: Path, tmp_path: Path) -> None:
    labels = write_captioned(tmp_path / "clips", clips=3)
    (labels.parent / "1.mp4").write_bytes(b"not a video")
    given = {"in_domain": [DataSource(path=labels)]}
    done = sweep(ends_of([str(runs / "second")]), (1.0,), given, workers=0, report=silent)
    assert done.sizes["in_domain"] == {"clips": 2, "texts": 4}
    assert [one["path"] for one in done.to_dict()["broken"]] == [str(labels.parent / "1.mp4")]
    for clip in (0, 2):
        (labels.parent / f"{clip}.mp4").write_bytes(b"nor this")
    with pytest.raises(ConfigError, match="none of its clips can be used"):
        sweep(ends_of([str(runs / "second")]), (1.0,), given, workers=0, report=silent)


def test_what_cannot_be_interpolated_is_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was made from nothing"):
        ends_of([str(runs / "first")])
    with pytest.raises(ConfigError, match="is no run's model"):
        ends_of([str(tmp_path)])
    with pytest.raises(ConfigError, match="3 models are named"):
        ends_of(["a", "b", "c"])
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"recipe\.json: cannot be read"):
        ends_of([str(tmp_path)])


def test_what_cannot_be_swept_is_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not from 0 to 1"):
        swept(runs, 0.0, 1.5)
    with pytest.raises(ConfigError, match="there are none"):
        swept(runs)
    with pytest.raises(CheckpointError, match="exists"):
        swept(runs, 0.5, out=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file is no folder"):
        swept(runs, 0.5, out=tmp_path / "file" / "out")
    model, *_ = open_dual_encoder(locate_dual(runs / "first"))
    save_dual(tmp_path / "mute", model, None, {})
    ends = ends_of([str(runs / "first"), str(tmp_path / "mute")])
    given = {"general": [DataSource(path=runs / "here" / "labels.jsonl")]}
    with pytest.raises(ConfigError, match="nothing to measure on"):
        sweep(ends, (0.5,), {}, workers=0, report=silent)
    with pytest.raises(ConfigError, match="has no tokenizer"):
        sweep(ends, (0.5,), given, workers=0, report=silent)
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"video": "none.mp4", "caption": "red"}\n', encoding="utf-8")
    with pytest.raises(FormatError, match=r"none\.mp4"):
        sweep(ends, (0.5,), {"general": [DataSource(path=bare)]}, workers=0, report=silent)


def test_towers_that_compute_different_things_are_not_averaged(runs: Path) -> None:
    first, second, _ = ends_of([str(runs / "second")]).open()
    dark = first.blueprint.model_copy(update={"tower": {**first.blueprint.tower, "mean": [0.1, 0.1, 0.1]}})
    assert dark.tower["kind"] == dual()["tower"]["kind"]
    other = type(first)(dark)
    with pytest.raises(CheckpointError, match="described in two ways"):
        interpolated(other, second, 0.5)
