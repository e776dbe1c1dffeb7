"""The demonstration: the shipped model meets a venue it has never seen, is adapted, and is measured.

The same code as for anybody's footage: simulating stands in for filming and labelling, then come `train`,
`evaluate`, `caption_store` and the report. Each step leaves its result in the folder, so a demonstration
that was stopped goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vidapt.adapting.bench import Bench, before_and_after
from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store.work import caption_store
from vidapt.errors import ConfigError
from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.engine import CAPTION_PROMPT
from vidapt.inference.load import load
from vidapt.measure.compare import Comparison, compare
from vidapt.measure.evaluate import Evaluation, world_judge
from vidapt.measure.report import write_report
from vidapt.nouns import Sample
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, load_recipe
from vidapt.recipe.shipped import recipe_path
from vidapt.training.run import train
from vidapt.worlds.billiards import simulate

HOME, VENUE, RECIPE = "billiards-home", "club", "billiards-adapt.yaml"
TRAIN_SEED, TEST_SEED = 2, 902


@dataclass(frozen=True)
class Size:
    """How much a demonstration does.

    Attributes:
        train_clips: Clips the model is adapted to.
        test_clips: Held-out clips it is measured on.
        changes: Changes to the recipe.
    """

    train_clips: int
    test_clips: int
    changes: tuple[str, ...] = ()


FULL = Size(320, 120)
QUICK = Size(24, 12, ("stages.0.epochs=1", "stages.1.epochs=1"))


@dataclass(frozen=True)
class DemoResult:
    """What came out.

    Attributes:
        before: The shipped model on the new venue.
        after: The adapted model.
        change: The difference, clip by clip.
        report: The page to look at.
        run: The adapted model's run.
    """

    before: Evaluation
    after: Evaluation
    change: Comparison
    report: Path
    run: Path

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "report": str(self.report),
            "run": str(self.run),
        }

    def rows(self) -> list[list[str]]:
        """A table: measure, before, after, and the controls of the adapted model."""
        return before_and_after(self.before, self.after)


def run_demo(
    out: Path,
    *,
    report: Reporter,
    captions: Path | None = None,
    size: Size = FULL,
    workers: int | None = None,
) -> DemoResult:
    """Simulate a new venue, measure the shipped model on it, adapt it, measure again, and write the report.

    Args:
        out: Everything goes here; what is already there is not done again.
        report: Shows progress.
        captions: Also caption this folder, with the adapted model, to `captions.jsonl`.
        size: How much is done.
        workers: Decoding processes; None is one per core.

    Raises:
        ConfigError: If `captions` does not exist, or `out` holds a demonstration of another size.
    """
    if captions is not None and not captions.exists():
        raise ConfigError(captions, "there is no such folder", "give a folder of clips")
    learn, test = out / "pool" / VENUE, out / "pool" / f"{VENUE}-test"
    recipe = _recipe(learn, size)
    _film(learn, size.train_clips, TRAIN_SEED, "film the new venue", workers, report)
    _film(test, size.test_clips, TEST_SEED, "film held-out clips", workers, report)
    bench = _bench(learn, test, workers, report)
    before = bench.measure(load(HOME), out / "before", "measure before")
    run = train(recipe, out / "runs", report, resume=True, workers=workers)
    adapted = load(run)
    after = bench.measure(adapted, out / "after", "measure after")
    if captions is not None:
        into = out / "captions.jsonl"
        caption_store(Builtin(adapted), captions, into, overwrite=True, workers=workers, report=report)
    page = out / "report.html"
    write_report(
        page,
        {"before": before, "after": after},
        title="A billiards model meets a new venue",
        run=run,
        notes=NOTES,
        commands=["vidapt demo" + (" --quick" if size == QUICK else "")],
    )
    result = DemoResult(before, after, compare(before, after), page, run)
    write_json(out / "result.json", result.to_dict())
    return result


NOTES = (
    "The shipped model's tower and connector were pre-trained on the simulator's state (where every ball "
    "is), which plays the part that contrastive pre-training on images plays elsewhere. Adapting used only "
    "clips and their labels, as anybody has them.",
    "The venue is simulated, so its truth is known and false claims are counted, not judged.",
)


def _bench(learn: Path, test: Path, workers: int | None, report: Reporter) -> Bench:
    """The same measurement for both models: accuracy with controls, and claims held against the log."""
    asked = [_plainly_asked(sample) for sample in open_samples(test / "labels.jsonl")]
    return Bench(asked, list(open_samples(learn / "labels.jsonl")), world_judge(test), workers, report)


def _plainly_asked(sample: Sample) -> Sample:
    """Captions are asked for as `vidapt caption` asks, so that both models understand the question."""
    if sample.facts.get("type") != "caption":
        return sample
    turns = tuple(replace(t, text=CAPTION_PROMPT) if t.role == "user" else t for t in sample.turns)
    return replace(sample, turns=turns)


def _film(folder: Path, clips: int, seed: int, task: str, workers: int | None, report: Reporter) -> None:
    def progress(done: int, total: int) -> None:
        report(task, done, total)

    simulate(folder, clips=clips, venue=VENUE, seed=seed, workers=workers, progress=progress)


def _recipe(learn: Path, size: Size) -> Recipe:
    labels = (learn / "labels.jsonl").resolve()
    given = {f"stages.{stage}.data.0.path": labels for stage in (0, 1)}
    return load_recipe(recipe_path(RECIPE), size.changes, given=given)
