"""Where nothing is kept, clips are looked at, decoded ahead of their steps, and left out where they break."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_tools import assert_equal, recipe, silent, stage, trained, video_lm, weights, write_clips

from vidapt.nouns import Clip, Views
from vidapt.towers.frame_vit import Part
from vidapt.training import footage as footage_module
from vidapt.training.run import train
from vidapt.video import decode_ahead, write_mp4
from vidapt.video.choose import Policy, Times

NOTHING = {"keep": "nothing"}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


class Watched:
    """Which clips are decoded, by which policy."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, bool]] = []
        patch.setattr(footage_module, "decode_ahead", self.decode_ahead)

    def decode_ahead(self, clips: Iterable[Clip], policy: Policy, **options: Any) -> Iterator[Any]:
        def told() -> Iterator[Clip]:
            for clip in clips:
                self.asked.append((clip.path.name, isinstance(policy, Times)))
                yield clip

        yield from decode_ahead(told(), policy, **options)

    def whole(self) -> list[str]:
        """Those that were decoded as a whole, in order."""
        return [name for name, first_alone in self.asked if not first_alone]

    def looked_at(self) -> list[str]:
        return [name for name, first_alone in self.asked if first_alone]


def test_clips_are_looked_at_and_decoded_once_for_each_visit(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(monkeypatch)
    monkeypatch.setattr(footage_module, "decode", lambda *_, **__: pytest.fail("decoded within the step"))
    trained(
        recipe(stage(labels, cache=NOTHING, steps=3, batching={"clips": 2, "blind": 0})), tmp_path / "runs"
    )
    assert watched.looked_at() == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert len(watched.whole()) == 3 * 2
    assert sorted(watched.whole()[:4]) == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]


def test_a_resumed_stage_decodes_from_where_it_is(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recipe(stage(labels, cache=NOTHING, steps=6, save_every=1))
    expected = trained(plan, tmp_path / "whole")

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("a", 4):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(plan, tmp_path / "cut", report, workers=0)
    watched = Watched(monkeypatch)
    assert_equal(trained(plan, tmp_path / "cut", resume=True), expected)
    assert len(watched.whole()) == 2 * 2


def test_in_processes_it_is_the_same(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, cache=NOTHING))
    run = train(plan, tmp_path / "processes", silent, workers=2)
    assert_equal(weights(run), trained(plan, tmp_path / "thread"))


def spoil_the_end(clip: Path) -> None:
    """Headers and first frame stay; too little of the rest is left."""
    content = clip.read_bytes()
    start = content.index(b"mdat") + 4
    keep = start + (len(content) - start) // 4
    # What is left is no picture any more, but the index behind it, if any, stays.
    end = content.find(b"moov", start)
    stop = end - 4 if end > 0 else len(content)
    clip.write_bytes(content[:keep] + bytes(stop - keep) + content[stop:])


def test_a_clip_that_breaks_in_a_step_costs_its_visits_alone(labels: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 255, (60, 64, 64, 3), dtype=np.uint8)
    write_mp4(labels.parent / "2.mp4", frames, 6)
    spoil_the_end(labels.parent / "2.mp4")
    plan = recipe(stage(labels, cache=NOTHING, steps=6, save_every=1, batching={"clips": 1, "blind": 0}))
    expected = trained(plan, tmp_path / "whole")
    text = (tmp_path / "whole" / "run" / "quarantine.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["2.mp4"]
    state = json.loads((tmp_path / "whole" / "run" / "run.json").read_text())
    assert state["stages"]["01-a"]["skipped"] >= 1

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("a", 3):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(plan, tmp_path / "cut", report, workers=0)
    assert_equal(trained(plan, tmp_path / "cut", resume=True), expected)


def views_of(model: Any, sizes: Iterable[tuple[int, int]]) -> list[Views]:
    generator = torch.Generator().manual_seed(0)
    pixels = [torch.randint(0, 255, (3, *size, 3), generator=generator, dtype=torch.uint8) for size in sizes]
    return [model.cut(one) for one in pixels]


def test_clips_of_other_file_sizes_go_through_the_tower_together() -> None:
    model = video_lm()
    cuts = views_of(model, [(24, 32)] * 3 + [(48, 36)] + [(24, 32)])
    assert len({cut.plan for cut in cuts}) == 2
    calls: list[int] = []
    model.towers[0].register_forward_hook(lambda tower, given, seen: calls.append(len(given[0])))
    together = model.see_each(cuts)
    assert calls == [5]
    for cut, seen in zip(cuts, together, strict=True):
        alone = model.see_views(cut)
        assert seen.plan == cut.plan
        assert torch.allclose(seen.features[0].x, alone.features[0].x, atol=1e-5)


def test_a_step_with_a_clip_of_another_size_calls_a_trained_tower_once(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    write_mp4(labels.parent / "2.mp4", rng.integers(0, 255, (6, 48, 40, 3), dtype=np.uint8), 6)
    calls: list[int] = []
    forward = Part.forward

    def counted(self: Part, views: torch.Tensor) -> Any:
        calls.append(len(views))
        return forward(self, views)

    monkeypatch.setattr(Part, "forward", counted)
    train_all = {"towers": "full", "connector": "full", "language": "full"}
    trained(
        recipe(stage(labels, train=train_all, steps=2, batching={"clips": 4, "blind": 0})), tmp_path / "runs"
    )
    assert calls == [4, 4]


@pytest.mark.parametrize("keep", ["nothing", "frames"])
def test_what_is_to_be_said_of_a_clip_stands_in_notes(tmp_path: Path, keep: str) -> None:
    folder = write_clips(tmp_path / "clips", clips=2).parent
    rows = [
        {"video": "0.mp4", "end_s": 9.0, "question": "what is it?", "answer": "a"},
        {"video": "1.mp4", "question": "what is it?", "answer": "b"},
    ]
    labels = folder / "long.jsonl"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    trained(recipe(stage(labels, cache={"keep": keep}, steps=1)), tmp_path / "runs")
    (note,) = (tmp_path / "runs" / "run" / "notes.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(note)["path"].endswith("0.mp4")
