"""What stages learn from, read whole before the first of them begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from vidapt import parts
from vidapt.curation.versions import check_version
from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.formats import Table, fingerprint, open_tables, wants_index
from vidapt.nouns import Sample
from vidapt.progress import Reporter
from vidapt.recipe import Batching, DataSource, Mix, Pairing, Recipe, Stage
from vidapt.training.data import open_source, read_sources
from vidapt.training.streamed import Streamed
from vidapt.training.streamed_clips import StreamedClips


@dataclass(frozen=True)
class Labels:
    """Samples of a stage as they were read.

    Attributes:
        samples: What it learns from; none where it is streamed.
        sets: What it is measured on, by the set's name.
        origins: Of every sample, the index of its source.
        sources: Those sources.
        streamed: What it learns from, where that is read row by row.
    """

    samples: Sequence[Sample]
    sets: Mapping[str, Sequence[Sample]]
    origins: Sequence[int] = ()
    sources: Sequence[DataSource] = ()
    streamed: Streamed | None = None

    @property
    def identity(self) -> int:
        """Equal for labels that are one and the same."""
        return id(self.samples if self.streamed is None else self.streamed)

    def texts(self) -> Iterator[str]:
        """What turns say; of streamed labels, some of them."""
        if self.streamed is not None:
            return self.streamed.texts()
        return (turn.text for sample in self.samples for turn in sample.turns)

    def held(self) -> Iterator[Sample]:
        """What is in memory: what it learns from, unless that is streamed, and then what it measures on."""
        yield from self.samples
        for samples in self.sets.values():
            yield from samples


@dataclass(frozen=True)
class StageData:
    """A stage's clips with their texts as ids.

    Attributes:
        clips: Each with its `media` and `samples`.
        sets: The same of what it is measured on.
        counts: What became of the texts, where some may be left out.
        sources: Where they come from.
    """

    clips: Sequence[Any]
    sets: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    sources: Sequence[DataSource] = ()

    @property
    def streamed(self) -> bool:
        """Whether rows are read when a step comes to them."""
        return isinstance(self.clips, StreamedClips)

    @property
    def samples(self) -> int:
        """How many there are; of streamed ones, rows."""
        if isinstance(self.clips, StreamedClips):
            return self.clips.streamed.count
        return sum(len(clip.samples) for clip in self.clips)


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
        if answer and stage.measure:
            raise ConfigError(
                f"stage {stage.name}, measure",
                "a dual encoder answers no questions",
                "measure it by `retrieval`: {in_domain: LABELS, general: LABELS}",
            )
        if answer:
            _refuse_mixing(stage)
            _refuse_weighing(stage, recipe.sources(stage))
    return answer


def _refuse_weighing(stage: Stage, sources: Sequence[DataSource]) -> None:
    """Alignment compares whole texts, in which no token counts less."""
    acts = [source.unsupported.act for source in sources if source.unsupported.weighs]
    if acts:
        raise ConfigError(
            f"stage {stage.name}, data",
            f"the objective `align` compares whole texts, and `unsupported: {acts[0]}` weighs tokens",
            "use `delete` or `drop`",
        )


def _refuse_mixing(stage: Stage) -> None:
    """Alignment makes up its steps from groups of captions."""
    usual = Batching()
    given = [
        name for name in ("media", "bucket", "sizes") if getattr(stage.batching, name) != getattr(usual, name)
    ]
    told = [f"batching.{name}" for name in given] + (["mix"] if stage.mix != Mix() else [])
    if told:
        raise ConfigError(
            f"stage {stage.name}, {told[0]}", "the objective `align` makes up its steps itself", "remove it"
        )


def labels_digest(data: Sequence[Labels]) -> str:
    """Tells whether the labels of a run's stages, and the sizes of clips in memory, are what they were."""
    whole = fingerprint(sample for one in data for sample in one.held())
    streamed = [one.streamed.digest for one in data if one.streamed is not None]
    return digest([whole, *streamed], 16) if streamed else whole


class LabelFiles:
    """Label files, each read once, however many stages and sets name it.

    Args:
        run: Folder of the run, for what is told of single rows; None where there is none.
        report: Shows how far an index is.
        whole: Read labels whole, however long they are.
    """

    def __init__(self, run: Path | None, report: Reporter, *, whole: bool) -> None:
        self._run, self._report, self._whole_only = run, report, whole
        self._files: dict[str, list[Sample]] = {}
        self._tables: dict[str, Sequence[Table]] = {}
        self._chosen: dict[str, tuple[list[Sample], list[int]]] = {}
        self._streams: dict[str, Streamed] = {}

    def labels(self, recipe: Recipe, stage: Stage) -> Labels:
        """All samples a stage names; equal sources give one and the same list.

        Raises:
            ConfigError: If a source yields nothing, or has a weight that nothing asks for.
            FormatError: Naming file and line of what cannot be read.
        """
        sets = {str(name): self._samples(sources)[0] for name, sources in stage.sets.items()}
        sources = recipe.sources(stage)
        _check_weights(stage, sources)
        if self._streams_any(stage, sources):
            return Labels((), sets, (), sources, self._streamed(sources))
        samples, origins = self._samples(sources)
        return Labels(samples, sets, origins, sources)

    def _streams_any(self, stage: Stage, sources: Sequence[DataSource]) -> bool:
        wanted = [source for source in sources if source.read == "rows"]
        if wanted and self._whole_only:
            raise ConfigError(
                f"stage {stage.name}, data", "alignment reads its labels whole", "leave out `read: rows`"
            )
        if self._whole_only:
            return False
        return bool(wanted) or any(
            source.read == "auto" and source.decisions is None and wants_index(source.path, source.format)
            for source in sources
        )

    def _streamed(self, sources: Sequence[DataSource]) -> Streamed:
        key = _key(sources)
        if any(source.decisions is not None for source in sources):
            raise ConfigError(
                "data, decisions",
                "decide labels beside which others are read row by row",
                "freeze them (`vidapt data freeze`), and name the version in their place",
            )
        if key not in self._streams:
            self._streams[key] = Streamed(sources, [self._opened(source) for source in sources], self._run)
        return self._streams[key]

    def _opened(self, source: DataSource) -> Sequence[Table]:
        key = source.model_dump_json(include=_READ_BY)
        if key not in self._tables:
            check_version(source.path, source.version)
            told = partial(self._report, f"read {source.path.name}")
            self._tables[key] = open_tables(source.path, source.format, told, **source.options)
        return self._tables[key]

    def _samples(self, sources: Sequence[DataSource]) -> tuple[list[Sample], list[int]]:
        key = _key(sources)
        if key not in self._chosen:
            read = read_sources(sources, self._whole)
            samples = [sample for found in read for sample in found]
            self._chosen[key] = samples, [index for index, found in enumerate(read) for _ in found]
        return self._chosen[key]

    def _whole(self, source: DataSource) -> list[Sample]:
        """A file's samples before its filters."""
        key = source.model_dump_json(include=_READ_BY)
        if key not in self._files:
            self._files[key] = list(open_source(source))
        return self._files[key]


_READ_BY = {"path", "format", "options", "decisions", "version"}
"""Fields of a source that decide what is in it."""


def _key(sources: Sequence[DataSource]) -> str:
    return "\n".join(source.model_dump_json(exclude={"weight"}) for source in sources)


def _check_weights(stage: Stage, sources: Sequence[DataSource]) -> None:
    weighted = [source for source in sources if source.weight != 1.0]
    if weighted and stage.mix.by == "size":
        raise ConfigError(
            f"stage {stage.name}, data",
            f"{weighted[0].path} has a weight, and `mix` goes by size",
            "say `mix: {by: weights}` (or `ratio`), or leave the weight out",
        )
