"""What stages learn from, read whole before the first of them begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.formats import single_questions
from vidapt.models.reach import refuse_longer
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Sample
from vidapt.progress import Reporter
from vidapt.recipe import Pairing, Recipe, Stage
from vidapt.training.align.captions import caption_clips
from vidapt.training.data import group_by_clip, read_samples
from vidapt.training.optimizer import Model


@dataclass(frozen=True)
class Labels:
    """Samples of a stage as they were read.

    Attributes:
        samples: What it learns from.
        sets: What it measures retrieval on, by the set's name.
    """

    samples: Sequence[Sample]
    sets: Mapping[str, Sequence[Sample]]

    def everything(self) -> Iterator[Sample]:
        """What it learns from, and then what it measures on."""
        yield from self.samples
        for samples in self.sets.values():
            yield from samples


@dataclass(frozen=True)
class StageData:
    """A stage's clips with their texts as ids.

    Attributes:
        clips: Each with its `media` and `samples`.
        sets: The same of what it measures retrieval on.
        counts: What became of the texts, where some may be left out.
    """

    clips: Sequence[Any]
    sets: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


def aligns(recipe: Recipe) -> bool:
    """Whether the recipe trains a dual encoder; its objectives say so.

    Raises:
        ConfigError: If its stages disagree, with one another or with the model it makes.
    """
    kinds = [str(stage.objective.get("kind", "")) for stage in recipe.stages]
    pairs = {bool(getattr(parts.find("objectives", kind), "pairs", False)) for kind in kinds}
    made = {recipe.dual is not None} if recipe.start is None else set()
    if len(pairs | made) > 1:
        raise ConfigError(
            "stages",
            f"the objectives {kinds} do not fit one model",
            "`align` trains a dual encoder (`dual`), all others a video-language model (`blueprint`)",
        )
    (answer,) = pairs
    for stage in recipe.stages:
        if not answer and (stage.retrieval or stage.pairs != Pairing()):
            raise ConfigError(
                f"stage {stage.name}",
                "`pairs` and `retrieval` belong to the objective `align`",
                "remove them",
            )
    return answer


def read_labels(recipe: Recipe, stage: Stage) -> Labels:
    """All samples a stage names.

    Raises:
        ConfigError: If a source yields nothing.
        FormatError: Naming file and line of what cannot be read.
    """
    sets: dict[str, list[Sample]] = {str(k): read_samples(v) for k, v in stage.retrieval.items()}
    return Labels(read_samples(recipe.sources(stage)), sets)


def ready(labels: Labels, stage: Stage, model: Model, tokenizer: Any, report: Reporter) -> StageData:
    """A stage's texts as ids; what becomes of captions is told.

    Raises:
        BudgetError: If a sample is longer than the language model reads.
        ConfigError: If no caption is left.
        FormatError: If an answer is too long, there is none, or a statement has not its form.
    """
    if isinstance(model, VideoLM):
        prompt, longest = model.blueprint.prompt, stage.batching.max_answer_tokens
        samples = single_questions(labels.samples) if stage.batching.apart else labels.samples
        clips = group_by_clip(samples, prompt, tokenizer, longest)
        refuse_longer(model, tokenizer, clips)
        return StageData(clips)
    positions = model.text.positions
    found = {
        name: caption_clips(samples, stage.pairs, tokenizer, positions, f"stage {stage.name}, {name}")
        for name, samples in {"data": labels.samples, **labels.sets}.items()
    }
    for name, one in found.items():
        report(f"{stage.name}: {name}", len(one.clips), len(one.clips), one.line())
    data = found.pop("data")
    return StageData(data.clips, {name: one.clips for name, one in found.items()}, data.counts)
