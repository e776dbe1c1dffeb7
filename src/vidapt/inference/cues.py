"""Captions of clips that look alike, from other sources: examples of style, never facts."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidapt.curation.ties import sessions
from vidapt.digests import digest
from vidapt.errors import BrokenClip, BudgetError, ConfigError, FormatError
from vidapt.files import exists
from vidapt.formats import each_sample
from vidapt.inference.diversity import Cues
from vidapt.metrics.text import words
from vidapt.nouns import MEDIA, Clip
from vidapt.progress import Reporter, silent
from vidapt.video.identity import identity

if TYPE_CHECKING:
    from vidapt.inference.engine import Engine
    from vidapt.inference.watch import SeenClip

_FEWEST = 4
"""Words of a caption; what is shorter is an answer."""

_BATCH = 8


@dataclass(frozen=True)
class Bank:
    """Captions by what a model sees of their clips.

    Attributes:
        cues: How they are used.
        clips: [N] whose they are.
        contents: [N] identities of the files.
        texts: [N] the captions.
        mean: [D] mean of the vectors: what all clips share.
        vectors: [N, D] of unit length, less the mean.
    """

    cues: Cues
    clips: Sequence[Clip]
    contents: Sequence[str]
    texts: Sequence[str]
    mean: np.ndarray
    vectors: np.ndarray

    @property
    def settings(self) -> str:
        """Hash of all that cues depend on, but for the model."""
        return digest([self.cues.words, self.cues.by, sorted(zip(self.contents, self.texts, strict=True))])

    def near(self, seen: SeenClip, count: int) -> list[str] | BrokenClip:
        """Captions of the clips nearest to one, of other sources; over again where there are too few.

        The nearness is the cosine of mean visual tokens, less what all clips share.

        Returns:
            So many captions; or why there is none for this clip.

        Raises:
            ConfigError: If nothing says what source the clip is of.
        """
        sources, _ = sessions([seen.clip, *self.clips], self.cues.by)
        own, content = sources[seen.clip], identity(seen.clip.path)
        found = _unit(_vector(seen) - self.mean)
        order = np.argsort(-(self.vectors @ found), kind="stable")
        others = [
            self.texts[at] for at in order if sources[self.clips[at]] != own and self.contents[at] != content
        ]
        if not others:
            return BrokenClip(seen.clip.path, f"all captions of {self.cues.labels} are of its own source")
        return [others[at % len(others)] for at in range(count)]


def bank(
    engine: Engine,
    cues: Cues,
    fits: Callable[[str], object],
    *,
    seed: int = 0,
    workers: int = 0,
    report: Reporter = silent,
) -> Bank:
    """Read captions and see their clips.

    Of each clip the longest answer is taken. What is shorter than four words, longer than may be, or holds a
    mark for clips is none; clips that are missing or broken are left out.

    Args:
        engine: The model that will be asked.
        cues: What is wanted.
        fits: Called with each caption; where it raises, since the model cannot read it, it is left out.
        seed: Of the choice, where there are more clips than may be looked at.
        workers: Decoding processes.
        report: Told how far it is.

    Raises:
        FormatError: If the labels cannot be read.
        ConfigError: If fewer than two captions are left, or `by` makes no sense.
    """
    texts = {
        clip: text for clip, text in _captions(cues).items() if exists(clip.path) and _does_fit(text, fits)
    }
    clips = list(texts)
    if len(clips) > cues.clips:
        chosen = np.random.default_rng(seed).permutation(len(clips))[: cues.clips]
        clips = [clips[at] for at in sorted(chosen.tolist())]
    kept: list[Clip] = []
    rows: list[np.ndarray] = []
    for done, (clip, one) in enumerate(
        zip(clips, engine.watch(clips, workers=workers, batch=_BATCH), strict=True), 1
    ):
        report("look at cues", done, len(clips))
        if not isinstance(one, BrokenClip):
            kept.append(clip)
            rows.append(_vector(one))
    if len(kept) < 2:
        raise ConfigError(
            "cues.labels",
            f"{cues.labels} has {len(kept)} caption(s) of clips that can be seen",
            f"give labels with captions of {_FEWEST} words and more, whose clips lie where they say",
        )
    sessions(kept, cues.by)
    mean = np.mean(rows, axis=0)
    vectors = np.stack([_unit(row - mean) for row in rows])
    return Bank(
        cues, kept, [identity(clip.path) for clip in kept], [texts[one] for one in kept], mean, vectors
    )


def with_cue(template: str, text: str, prompt: str) -> str:
    """A question behind an example, whose own words are never filled in."""
    return string.Template(template).safe_substitute(text=text, prompt=prompt)


def _captions(cues: Cues) -> dict[Clip, str]:
    """The longest usable answer about each clip."""
    found: dict[Clip, str] = {}
    for sample in each_sample(Path(cues.labels), cues.format):
        if isinstance(sample, FormatError):
            continue  # one that cannot be read is no cue
        text = " ".join(sample.answer.split())
        usable = MEDIA not in text and len(text) <= cues.longest and len(words(text)) >= _FEWEST
        if len(sample.media) == 1 and usable and len(text) > len(found.get(sample.media[0], "")):
            found[sample.media[0]] = text
    return found


def _does_fit(text: str, fits: Callable[[str], object]) -> bool:
    try:
        fits(text)
    except (BudgetError, FormatError):
        return False
    return True


def _vector(seen: SeenClip) -> np.ndarray:
    found: np.ndarray = seen.tokens.mean(0).detach().double().cpu().numpy()
    return found


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector
