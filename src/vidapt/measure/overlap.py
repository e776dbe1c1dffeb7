"""Whether a model is asked about what it was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.formats import each_sample, shards_of
from vidapt.measure.provenance import read_object
from vidapt.nouns import Clip, Sample
from vidapt.training.state import RECIPE

_LARGEST = 256 * 1024**2
"""Bytes of label files that are looked through; larger ones take minutes."""

Stretches = dict[Path, list[tuple[float, float]]]


def refuse_trained_on(model: Path, samples: Sequence[Sample], data: Path) -> None:
    """See that none of the clips that are asked about is among those a run learned from.

    Labels that lie elsewhere by now, that are very long, or of which the run took only some clips, are not
    looked at.

    Args:
        model: What is measured; nothing is known of anything but a run's folder.
        samples: The questions.
        data: Where they are from.

    Raises:
        ConfigError: If one is.
    """
    try:
        recipe = read_object(model / RECIPE)
    except (FormatError, OSError):
        return  # what is wrong with a run is told when it is opened
    asked = {clip for sample in samples for clip in sample.media}
    for source in _sources(recipe):
        learned = _learned(source)
        both = sorted(clip.id for clip in asked if _among(clip, learned))
        if both:
            raise ConfigError(
                data,
                f"{len(both)} of its {len(asked)} clips are among those that {model.name} was trained on "
                f"({source['path']}), such as {both[0]}",
                "ask about other clips, or say --overlap if you want to know what was learned by heart",
            )


def _sources(recipe: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Label files of all stages of which all clips were taken."""
    found: dict[str, Mapping[str, Any]] = {}
    for part in (recipe, *(recipe.get("stages") or ())):
        listed = part.get("data") if isinstance(part, Mapping) else None
        for one in listed if isinstance(listed, list) else [listed]:
            whole = isinstance(one, Mapping) and not one.get("limit") and not one.get("skip")
            if whole and isinstance(one, Mapping) and isinstance(one.get("path"), str):
                found.setdefault(str(one["path"]), one)
    yield from found.values()


def _learned(source: Mapping[str, Any]) -> Stretches:
    """Stretches of films that labels are about."""
    found: Stretches = {}
    path, options = Path(source["path"]), source.get("options") or {}
    try:
        files = shards_of(path)
        if sum(file.stat().st_size for file in files if file.is_file()) > _LARGEST:
            return {}
        for sample in each_sample(path, source.get("format"), **options):
            for clip in sample.media if isinstance(sample, Sample) else ():
                found.setdefault(_place(clip), []).append(_stretch(clip))
    except (VidaptError, OSError):
        return {}  # they were there when the model was trained, and need not be now
    return found


def _among(clip: Clip, learned: Stretches) -> bool:
    start, end = _stretch(clip)
    return any(start < last and first < end for first, last in learned.get(_place(clip), ()))


def _place(clip: Clip) -> Path:
    return Path(clip.path).resolve()


def _stretch(clip: Clip) -> tuple[float, float]:
    return clip.start_s, float("inf") if clip.end_s is None else clip.end_s
