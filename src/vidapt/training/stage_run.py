"""One stage of a run: its clips made ready, its steps taken, its model saved."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vidapt.curation.versions import versions_of
from vidapt.errors import ConfigError
from vidapt.nouns import Clip
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, Stage
from vidapt.training import quarantine
from vidapt.training.align import teachers
from vidapt.training.base import in_few_bits
from vidapt.training.footage import Footage
from vidapt.training.forks import Fork
from vidapt.training.freeze import Model, set_trainable
from vidapt.training.kind import Kind, Prepared
from vidapt.training.live import LiveLine
from vidapt.training.number_formats import settle_formats
from vidapt.training.pace import TRIED, kept_pace, timed_pace
from vidapt.training.picture_sizes import grouped_sizes
from vidapt.training.prefetch import Prefetch
from vidapt.training.ready import StageData
from vidapt.training.stage import fit, make_objective
from vidapt.training.state import stage_folder
from vidapt.training.streamed_clips import StreamedClips
from vidapt.training.tracking import Tracked, Trackers, open_trackers
from vidapt.training.work import StageWork
from vidapt.version import VERSION


@dataclass(frozen=True)
class StageRun:
    """A stage and all that it is carried out with.

    Attributes:
        kind: Of the model.
        recipe: Of the run.
        index: Of the stage among the recipe's.
        run: Folder of the run.
        data: The stage's clips and their labels.
        report: Shows progress.
        workers: Decoding processes.
        contents: What is in the files of clips, as `video.identity` has it.
        forks: What was changed while the stage was under way.
        done: Steps that were done before.
        teachers: Those of its objective, by name.
        track: Names of the trackers that get its numbers.
    """

    kind: Kind
    recipe: Recipe
    index: int
    run: Path
    data: StageData
    report: Reporter
    workers: int
    contents: Mapping[Path, str]
    forks: Sequence[Fork]
    done: int
    teachers: Mapping[str, teachers.Teacher]
    track: Sequence[str] = ()

    @property
    def stage(self) -> Stage:
        """What the recipe says."""
        return self.recipe.stages[self.index]

    @property
    def folder(self) -> Path:
        """Where the stage's work and model go."""
        return self.run / stage_folder(self.index, self.stage)

    def carry_out(self, model: Model, tokenizer: Any) -> dict[str, Any]:
        """Train `model` in place and save it; returns steps, seconds and loss."""
        stage = self.stage
        objective = make_objective(stage, model, self.recipe.seed)
        if told := set_trainable(model, stage.train):
            self.report(f"{stage.name}: adapters", 1, 1, told)
        settle_formats(model, [stage])
        footage = Footage(
            self.kind.eyes(model),
            stage.cache,
            self._caches,
            tower_trains=stage.train.towers != "frozen",
            needs_views=getattr(objective, "needs_views", False),
            workers=self.workers,
            precision=stage.precision,
            shrinks=not getattr(objective, "reads_features", True),
            contents=self.contents,
            sizes=grouped_sizes(stage.batching.sizes, self.data.clips),
        )
        data = self._usable(footage, self.data)
        shown, data = self._lessons(objective, data, model.device)
        prepared = Prepared(
            stage=stage,
            index=self.index,
            seed=self.recipe.seed,
            folder=self.folder,
            model=model,
            tokenizer=tokenizer,
            objective=objective,
            footage=footage,
            data=data,
            lessons=shown,
            card=lambda numbers: self._card(numbers, data),
            set_aside=lambda broken: quarantine.add(self.run / quarantine.QUARANTINE, broken),
        )
        with closing(footage), in_few_bits(model, stage, self.folder / "work"):
            if stage.hours is not None:
                prepared = replace(prepared, stage=self._in_steps(prepared, stage.hours))
            work = self._work(prepared)
            with closing(Prefetch(work.batches, work.steps, stage.batching.ahead)) as prefetch:
                line = LiveLine(self.report, stage, prefetch, work.note, lambda: footage.note)
                work = replace(work, batches=prefetch, measure=line.measuring(work.measure))
                result = fit(model, work, line)
                result |= {} if prefetch.share is None else {"waited": round(prefetch.share, 4)}
        result |= {**work.told, **({"adapters": told} if told else {})}
        result |= {"base": stage.train.base} if stage.train.base != "stored" else {}
        result |= {"texts": dict(data.counts)} if data.counts else {}
        self.kind.save(self.folder / "model", model, tokenizer, self._card(result, data))
        return result

    def _work(self, prepared: Prepared) -> StageWork:
        work = self.kind.work(prepared)
        return replace(work, changed=self._changed(), tell=self._tell, trackers=self._trackers)

    def _trackers(self, done: int) -> AbstractContextManager[Trackers]:
        recipe = self.recipe.model_dump(mode="json", exclude_defaults=True)
        tracked = Tracked(self.run.name, self.folder.name, self.folder / "work", recipe, done)
        return open_trackers(self.track, tracked, self._tell)

    def _in_steps(self, prepared: Prepared, hours: float) -> Stage:
        """The stage with as many steps as fit into its hours, which are timed once."""
        pace = kept_pace(self.folder / "work")
        if pace is None:
            tried = self.stage.model_copy(update={"steps": TRIED, "hours": None})
            pace = timed_pace(prepared.model, self._work(replace(prepared, stage=tried)), hours)
            prepared.footage.close()
        steps = pace.steps(hours)
        self._tell(f"{hours:g} hours are {steps} steps of {pace.step_s:.3g} seconds")
        return self.stage.model_copy(update={"steps": steps, "hours": None})

    def _changed(self) -> dict[str, float]:
        """Numbers that were changed where the stage goes on, for its log."""
        here = (fork.changed for fork in self.forks if fork.step == self.done)
        return {
            place: new
            for changed in here
            for place, (_, new) in changed.items()
            if isinstance(new, int | float)
        }

    @property
    def _caches(self) -> Path:
        return self.run.parent / ".cache"

    def _lessons(
        self, objective: nn.Module, data: StageData, device: torch.device
    ) -> tuple[dict[str, Footage], StageData]:
        """What the teachers see of the clips, and the clips that all of them can see."""
        shown = teachers.lessons(self.teachers, self.stage.cache, self._caches, self.workers, self.contents)
        for name, footage in shown.items():
            self.teachers[name].to(device)
            data = replace(self._usable(footage, replace(data, sets={}), f" for {name}"), sets=data.sets)
            self.teachers[name].cpu()
        if shown:
            items = list(dict.fromkeys((clip.media[0], 1) for clip in data.clips))
            teachers.introduce(objective, shown, items, self.recipe.seed, device)
        return shown, data

    def _tell(self, told: str) -> None:
        self.report(f"{self.stage.name}: note", 1, 1, told)

    def _usable(self, footage: Footage, data: StageData, why: str = "") -> StageData:
        """Clips without the broken ones, which are written down with their reasons.

        Those of streamed labels are looked at when a step comes to them, but for what is measured.
        """
        broken = self._read(footage, data, f"{self.stage.name}: read clips{why}")
        if not broken:
            return data
        file = self.run / quarantine.QUARANTINE
        quarantine.add(file, broken)

        def whole(clips: Sequence[Any]) -> list[Any]:
            kept = [c for c in clips if broken.keys().isdisjoint(c.media)]
            if not kept:
                raise ConfigError(file, "none of the clips can be used", "read the reasons there")
            return kept

        sets = {name: whole(clips) for name, clips in data.sets.items()}
        clips = data.clips if isinstance(data.clips, StreamedClips) else whole(data.clips)
        return replace(data, clips=clips, sets=sets)

    def _read(self, footage: Footage, data: StageData, task: str) -> dict[Clip, str]:
        """Make clips ready; those that are broken, with their reasons."""

        def progress(done: int, total: int) -> None:
            self.report(task, done, total, footage.note)

        in_sets = (clip for clips in data.sets.values() for clip in clips)
        measured = dict.fromkeys((clip, len(c.media)) for c in in_sets for clip in c.media)
        if isinstance(data.clips, StreamedClips):
            media = list(measured)
            broken = footage.prepare_beside(media, progress) if media else {}
        else:
            learned = dict.fromkeys((clip, len(c.media)) for c in data.clips for clip in c.media)
            media = list(learned | measured)
            broken = footage.prepare(media, progress, whole=measured)
        if noted := footage.notes(media):
            quarantine.add_notes(self.run / quarantine.NOTES, noted)
            told = f"of {len(noted)} there is something to know, see {self.run / quarantine.NOTES}"
            self.report(task, len(media), len(media), told)
        return broken

    def _card(self, result: Mapping[str, Any], data: StageData) -> dict[str, Any]:
        return {
            "recipe": self.recipe.name,
            "recipe_hash": self.recipe.fingerprint,
            "stage": self.stage.name,
            "seed": self.recipe.seed,
            "clips": len(data.clips),
            "samples": data.samples,
            **({"data": known} if (known := versions_of(source.path for source in data.sources)) else {}),
            **result,
            **({"forks": [asdict(fork) for fork in self.forks]} if self.forks else {}),
            "versions": {
                "vidapt": VERSION,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }
