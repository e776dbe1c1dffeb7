"""`vidapt adapt`: from footage and labels to an adapted model and a report, each step done once."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vidapt.adapting.base import choose_base, choose_device, memory_of, planned_on
from vidapt.adapting.bench import LONGEST_ANSWER, Bench
from vidapt.adapting.choose import choose_recipe
from vidapt.adapting.data import Source, divide, examine, open_source, tell_found
from vidapt.adapting.decisions import Decisions
from vidapt.adapting.facts import Facts, facts_of
from vidapt.adapting.job import Places, Request, claim, claimed, refuse_strangers
from vidapt.adapting.keep import keep_best
from vidapt.adapting.result import Adapted, commands, write_result_page
from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.rows import read_rows
from vidapt.captioning.store.work import caption_store
from vidapt.errors import BudgetError
from vidapt.files import check_folder, write_json
from vidapt.formats import open_samples
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.locks import owned
from vidapt.measure.evaluate import Evaluation, world_judge
from vidapt.models.decoding import Decoding
from vidapt.nouns import Sample
from vidapt.planning.numbers import RecipePlan
from vidapt.planning.plan import Means as PlanMeans
from vidapt.planning.plan import plan_recipe, refuse
from vidapt.progress import Reporter, silent
from vidapt.recipe import Recipe, load_recipe
from vidapt.training.outlook import outlook
from vidapt.training.run import train
from vidapt.training.state import stage_folder

_CAPTIONED = 8


@dataclass(frozen=True)
class Means:
    """What a job is carried out with, on which its result does not depend.

    Attributes:
        device: Where it computes; None takes a GPU if there is one.
        workers: Decoding processes; None is one per core.
    """

    device: str | None = None
    workers: int | None = None


def _unasked(plan: RecipePlan) -> bool:
    del plan
    return True


@dataclass(frozen=True)
class Talk:
    """How a job talks with its user.

    Attributes:
        tell: Called with each decision.
        report: Shows progress.
        agree: Shown the plan; false ends the job there.
    """

    tell: Callable[[str], object] = field(default=lambda text: None)
    report: Reporter = silent
    agree: Callable[[RecipePlan], bool] = _unasked


def adapt(
    request: Request, out: Path, means: Means | None = None, talk: Talk | None = None
) -> Adapted | None:
    """Adapt a model to a user's clips: check, divide, choose, plan, train, measure, caption, report.

    Each step leaves its result in `out`. A job that was stopped, called again, goes on behind what is done.

    Args:
        request: What is asked for.
        out: Folder of all results; it belongs to this job.
        means: What it is carried out with.
        talk: How it talks with its user.

    Returns:
        What came out; None if the user did not agree to the plan.

    Raises:
        ConfigError: If clips, labels, base or changes cannot be used, or the folder is another job's.
        FormatError: If labels are unsound, or name clips that are not there.
        CheckpointError: If the base cannot be opened.
        BudgetError: If it would not fit.
        TakenError: If another process works in `out`.
        KeyboardInterrupt: After Ctrl-C or SIGTERM; what is done is kept.
    """
    check_folder(out)
    refuse_strangers(out)
    with owned(out):
        given = means or Means()
        device = choose_device(given.device)
        return _Job(request, Places(out), device, given.workers, talk or Talk()).carry_out()


@dataclass
class _Job:
    """The steps of a job; each looks for what it left before."""

    request: Request
    places: Places
    device: str
    workers: int | None
    talk: Talk

    def carry_out(self) -> Adapted | None:
        """All steps; None if the plan was not agreed to."""
        source, samples = open_source(self.request)
        self._divide(source, samples)
        recipe = self._recipe()
        if recipe is None:
            return None
        report, workers = self.talk.report, self.workers
        run = train(recipe, self.places.runs, report, resume=True, workers=workers, device=self.device)
        model = self._kept(recipe, run)
        engines = {"before": str(recipe.start), "after": str(model)}
        bench = self._bench(self.places.test)
        before, after = (self._measured(bench, engine, name) for name, engine in engines.items())
        return self._ended(source, run, model, before, after, self._general(engines))

    @cached_property
    def decisions(self) -> Decisions:
        """What was decided so far."""
        self.places.root.mkdir(parents=True, exist_ok=True)
        return Decisions(self.places.decisions, self.talk.tell)

    @cached_property
    def facts(self) -> Facts:
        """Of the labels to learn from."""
        return facts_of(self.places.train, self.talk.report)

    def _divide(self, source: Source, samples: list[Sample]) -> None:
        """Labels are checked and divided once."""
        file, asked = self.places.data / "job.json", self.request.of_data(samples)
        if claimed(file, asked):
            return
        found = examine(source, self.request, self.talk.report, self.workers)
        self.decisions.forget()
        tell_found(found, source, self.request, self.decisions)
        divide(source, samples, self.request, self.places, self.decisions, self.talk.report, self.workers)
        claim(file, asked)

    def _recipe(self) -> Recipe | None:
        """The recipe, once its plan was agreed to; from then on it stays as it is."""
        file, asked = self.places.root / "job.json", self.request.of_recipe()
        if claimed(file, asked):
            return load_recipe(self.places.recipe)
        self.decisions.forget("base")
        base = choose_base(self.request.start, self.device, self.decisions)
        recipe = choose_recipe(self.request, base, self.facts, self.device, self.places, self.decisions)
        if not self.talk.agree(self._plan(recipe)):
            return None
        claim(file, asked)
        return recipe

    def _plan(self, recipe: Recipe) -> RecipePlan:
        """What it will cost.

        Raises:
            BudgetError: If it would not fit on the disk or into memory.
        """
        plan = plan_recipe(
            outlook(recipe, self.talk.report), PlanMeans(planned_on(self.device), runs=self.places.runs)
        )
        refuse(plan)
        need = max((stage.memory.total for stage in plan.stages if stage.memory is not None), default=0)
        have = memory_of(self.device)
        if need > have:
            raise BudgetError(
                f"plan of {plan.recipe}",
                f"needs {need / 1e9:.1f} GB of memory, and {self.device} has {have / 1e9:.1f}",
                "begin with a smaller model, or add --set stages.0.batching.at_once=1 (and stages.1, ...)",
            )
        return plan

    def _kept(self, recipe: Recipe, run: Path) -> Path:
        """The model that is kept, chosen by what it answers about clips that were held back for that."""
        file = self.places.root / "kept.json"
        if not file.exists():
            folders = [stage_folder(index, stage) for index, stage in enumerate(recipe.stages)]
            kept = keep_best(
                {name: run / name / "model" for name in folders},
                lambda model: self._engine(str(model)),
                self._bench(self.places.val),
                self.places.root / "val",
                self.decisions,
                large=recipe.stages[0].train.language == "lora",
            )
            write_json(file, {"model": str(kept.relative_to(self.places.root))})
        return self.places.root / str(json.loads(file.read_text(encoding="utf-8"))["model"])

    def _engine(self, model: str) -> Engine:
        """A model by its name or folder; what was trained here is called as the run is."""
        engine = load(model, device=self.device)
        if Path(model).is_relative_to(self.places.runs):
            engine.name = self.request.name
        return engine

    def _bench(self, labels: Path) -> Bench:
        labels_of = self.request.labels
        judge = world_judge(self.request.clips if labels_of is None else labels_of.parent)
        samples, learned = list(open_samples(labels)), list(open_samples(self.places.train))
        return Bench(samples, learned, judge, self.workers, self.talk.report)

    def _measured(self, bench: Bench, model: str, name: str) -> Evaluation:
        return bench.measure(self._engine(model), self.places.root / "test" / name, f"measure {name}")

    def _general(self, models: Mapping[str, str]) -> tuple[Evaluation, Evaluation] | None:
        """What both models know of what is to be kept; None if nothing was named."""
        labels = self.request.general
        if labels is None:
            return None
        samples = list(open_samples(labels))
        bench = Bench(samples, samples, world_judge(labels.parent), self.workers, self.talk.report)
        out = self.places.root / "general"
        before, after = (
            bench.measure(self._engine(model), out / name, f"general set, {name}", ())
            for name, model in models.items()
        )
        return before, after

    def _captioned(self, source: Source, model: Path) -> Path:
        """Captions of some clips: of those without labels, and of some that were held back."""
        out, prompt = self.places.root / "captions.jsonl", self.facts.caption or self.facts.question
        held = dict.fromkeys(clip.path for sample in open_samples(self.places.test) for clip in sample.media)
        clips = [path.absolute() for path in [*source.unlabelled, *held][:_CAPTIONED]]
        why = "of the labels' usual questions, the one whose answers tell most"
        if self.facts.caption is None:
            why = "the labels' most common question: none of theirs is answered by texts"
        self.decisions.make("captions", f"asked {prompt!r}", why)
        caption_store(
            Builtin(self._engine(str(model))),
            clips,
            out,
            prompts=[prompt],
            overwrite=True,
            decoding=Decoding(max_new_tokens=LONGEST_ANSWER),
            workers=self.workers,
            report=self.talk.report,
        )
        return out

    def _ended(
        self,
        source: Source,
        run: Path,
        model: Path,
        before: Evaluation,
        after: Evaluation,
        general: tuple[Evaluation, Evaluation] | None,
    ) -> Adapted:
        captions = self._captioned(source, model)
        rows = read_rows(captions)
        clip = after.verdicts[0].clip.path
        result = Adapted(
            model=model,
            report=self.places.report,
            recipe=self.places.recipe,
            captions=captions,
            before=before,
            after=after,
            general=general,
            next=commands(self.request, model, self.facts, clip),
        )
        write_result_page(
            self.places,
            self.request,
            result,
            run=run,
            decisions=self.decisions,
            captions=rows,
            typed=[shlex.join(["vidapt", "adapt", str(self.request.clips), "--out", str(self.places.root)])],
        )
        write_json(self.places.root / "result.json", result.to_dict())
        return result
