"""What stages learn from, read whole before the first of them begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.nouns import Sample
from vidapt.recipe import DataSource, Pairing, Recipe, Stage
from vidapt.training.data import open_source, read_samples


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


class LabelFiles:
    """Label files, each read once, however many stages and sets name it."""

    def __init__(self) -> None:
        self._files: dict[str, list[Sample]] = {}
        self._chosen: dict[str, list[Sample]] = {}

    def labels(self, recipe: Recipe, stage: Stage) -> Labels:
        """All samples a stage names; equal sources give one and the same list.

        Raises:
            ConfigError: If a source yields nothing.
            FormatError: Naming file and line of what cannot be read.
        """
        sets = {str(name): self._samples(sources) for name, sources in stage.retrieval.items()}
        return Labels(self._samples(recipe.sources(stage)), sets)

    def _samples(self, sources: Sequence[DataSource]) -> list[Sample]:
        key = "\n".join(source.model_dump_json() for source in sources)
        if key not in self._chosen:
            self._chosen[key] = read_samples(sources, self._whole)
        return self._chosen[key]

    def _whole(self, source: DataSource) -> list[Sample]:
        """A file's samples before its filters."""
        key = source.model_dump_json(include={"path", "format", "options"})
        if key not in self._files:
            self._files[key] = list(open_source(source))
        return self._files[key]
