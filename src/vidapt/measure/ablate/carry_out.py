"""An ablation carried out: every run trained and asked, whatever was done before it was killed kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidapt import formats
from vidapt.errors import ConfigError
from vidapt.files import write_json
from vidapt.inference.load import load
from vidapt.locks import owned
from vidapt.measure.ablate.arms import Arm
from vidapt.measure.ablate.page import write_ablation
from vidapt.measure.ablate.result import Ablation, ArmResult, result_of, seconds_of
from vidapt.measure.ablate.sharing import begin_with_finished
from vidapt.measure.evaluate import METRICS, evaluate
from vidapt.measure.evaluation import Evaluation, read_evaluation
from vidapt.measure.gains import PerQuestion, per_question
from vidapt.models.decoding import Decoding
from vidapt.nouns import Sample
from vidapt.progress import Reporter
from vidapt.recipe import DataSource, Recipe
from vidapt.training.data import read_samples
from vidapt.training.ready import aligns
from vidapt.training.run import train
from vidapt.training.state import read_state

RESULT, PAGE, RUNS, ASKED = "ablation.json", "report.html", "runs", "eval"


def ablate(
    arms: Sequence[Arm],
    out: Path,
    report: Reporter,
    *,
    test: Path | None = None,
    kind: str | None = None,
    budget: float = 1.0,
    workers: int | None = None,
    device: str = "cpu",
    max_tokens: int = 128,
) -> Ablation:
    """Train and measure every arm with every seed.

    All runs lie in one folder and share its cache. A run begins with the finished stages of another one where
    these are its own, so that no stage is trained twice. Called again after a kill, it goes on.

    Args:
        arms: The recipe as it is, then others.
        out: Folder; runs, evaluations, `ablation.json` and `report.html` go there.
        report: Shows progress.
        test: Questions that all runs are asked; None takes the set `in_domain` that the recipe measures.
        kind: Format of the test's labels.
        budget: That the arms were shortened by, to be told.
        workers: Decoding processes; None is one per core.
        device: Where to train and answer.
        max_tokens: Longest answer.

    Raises:
        ConfigError: If there is no test data, or the recipe trains a dual encoder.
        VidaptError: As `train` and `evaluate`; if another process works there.
    """
    _refuse_dual(arms)
    sources = _test_sources(arms[0].recipe, test, kind)
    samples = formats.single_questions(read_samples(sources))
    formats.check(samples)
    job = _Job(out, samples, report, workers, device, max_tokens)
    with owned(out):
        results, base = _carried_out(arms, job)
        clips = len(set(base.clips))
        notes = _notes(arms, sources)
        name = arms[0].recipe.name
        found = Ablation(name, base.kind, len(base.values), clips, budget, tuple(results), notes)
        write_json(out / RESULT, found.to_dict())
        write_ablation(out / PAGE, found)
    return found


def _carried_out(arms: Sequence[Arm], job: _Job) -> tuple[list[ArmResult], PerQuestion]:
    """Results of all arms, and what one run of the recipe as it is said."""
    plans = {arm.label: arm.runs() for arm in arms}
    # All seeds of the recipe as it is come first: the others take their first stages from these.
    reused = {
        label: sum(job.train(recipe, _but(plans, recipe)) for recipe in runs) for label, runs in plans.items()
    }
    answers = {label: [job.ask(recipe) for recipe in runs] for label, runs in plans.items()}
    base = answers[arms[0].label]
    results = [
        result_of(
            arm,
            answers[arm.label],
            base,
            [job.seconds(recipe) for recipe in plans[arm.label]],
            [recipe.name for recipe in plans[arm.label]],
            reused[arm.label],
        )
        for arm in arms
    ]
    return results, base[0]


def _refuse_dual(arms: Sequence[Arm]) -> None:
    for arm in arms:
        if aligns(arm.recipe):
            raise ConfigError(
                arm.label, "trains a dual encoder, which answers no questions", "ablate a language model"
            )


class _Job:
    """Runs and evaluations in one folder."""

    def __init__(
        self,
        out: Path,
        samples: Sequence[Sample],
        report: Reporter,
        workers: int | None,
        device: str,
        max_tokens: int,
    ) -> None:
        self._out, self._samples, self._report = out, samples, report
        self._workers, self._device = workers, device
        self._decoding = Decoding(max_new_tokens=max_tokens)

    def train(self, recipe: Recipe, others: Sequence[Recipe]) -> int:
        """Train a run, or what is left of it; returns how many stages it has from another one."""
        runs = self._out / RUNS
        reused = begin_with_finished(recipe, runs, others)
        state = read_state(runs / recipe.name, recipe, resume=True)
        if state is None or len(state.finished) < len(recipe.stages):
            train(recipe, runs, self._shown(recipe), resume=True, workers=self._workers, device=self._device)
        return reused

    def ask(self, recipe: Recipe) -> PerQuestion:
        """What a run's model says, question by question."""
        out = self._out / ASKED / recipe.name
        return per_question(self._evaluated(recipe, out))

    def seconds(self, recipe: Recipe) -> float:
        """Of a run's training."""
        state = read_state(self._out / RUNS / recipe.name, recipe, resume=True)
        assert state is not None
        return seconds_of(state.stages)

    def _evaluated(self, recipe: Recipe, out: Path) -> Evaluation:
        if (out / METRICS).is_file():
            kept = read_evaluation(out)
            if kept.header.stamp["data"] == formats.fingerprint(self._samples):
                return kept
        return evaluate(
            load(self._out / RUNS / recipe.name, device=self._device),
            self._samples,
            out=out,
            decoding=self._decoding,
            controls=(),
            workers=self._workers,
            report=self._shown(recipe),
            overwrite=True,
        )

    def _shown(self, recipe: Recipe) -> Reporter:
        def show(task: str, done: int, total: int, note: str = "") -> None:
            self._report(f"{recipe.name}: {task}", done, total, note)

        return show


def _but(plans: dict[str, list[Recipe]], recipe: Recipe) -> list[Recipe]:
    return [one for runs in plans.values() for one in runs if one.name != recipe.name]


def _test_sources(recipe: Recipe, test: Path | None, kind: str | None) -> tuple[DataSource, ...]:
    if test is not None:
        if not test.exists():
            raise ConfigError(test, "is not there", "give a label file as --test")
        return (DataSource(path=test, format=kind),)
    for stage in reversed(recipe.stages):
        if "in_domain" in stage.measure:
            return stage.measure["in_domain"]
    raise ConfigError(
        "ablate",
        "there is no test data: nothing tells what a stage is worth",
        "give --test FILE, or a stage `measure: {in_domain: LABELS}`",
    )


def _notes(arms: Sequence[Arm], sources: Sequence[DataSource]) -> tuple[str, ...]:
    learned = {
        source.path.resolve()
        for arm in arms
        for stage in arm.recipe.stages
        for source in arm.recipe.sources(stage)
    }
    same = [str(source.path) for source in sources if source.path.resolve() in learned]
    if not same:
        return ()
    return (f"Test data is training data, too ({', '.join(same)}): scores tell what was learned by heart.",)
