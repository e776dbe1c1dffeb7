"""Footage of the study of labels that shows less than happens, and what of its texts can be seen in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _adapt_data import WORDS, in_home_words, once
from _label_data import shown_until
from PIL import Image

from vidapt.evidence.likelihoods import Likelihoods
from vidapt.files import write_json
from vidapt.inference.load import load
from vidapt.inference.watch import SeenClip
from vidapt.nouns import Clip, Sample, Turn
from vidapt.video import Uniform, decode, write_mp4
from vidapt.worlds.billiards import STYLES, Record, load_records, simulate, story
from vidapt.worlds.billiards.claims import Claim, true_claims
from vidapt.worlds.billiards.events import WHITE
from vidapt.worlds.billiards.table import FPS, FRAMES, POCKETS, SIDES

Shown = Mapping[int, frozenset[Claim]]
"""By the number of a clip, which claims of its story can be seen."""

END_S = 1.2
"""When clips stand still: at 56 % of what their texts tell."""

SMALLER = 10
"""By how much the sides of coarse pictures are divided."""

EACH = 16
"""Which frames are left of slow footage: one in so many, which stands until the next."""

OTHERS = 600
"""Clips that references learn from."""

_SEED = 904
"""Of these clips; those of `_adapt_data.WORLDS` are others."""

QUESTION = "describe the trajectory of each ball as precisely as possible."


def still(frames: np.ndarray) -> np.ndarray:
    """[T, H, W, 3] that stand still from a moment on."""
    last = int(END_S * FPS)
    return np.concatenate([frames[: last + 1], np.repeat(frames[last : last + 1], len(frames) - last - 1, 0)])


def coarse(frames: np.ndarray, smaller: int = SMALLER) -> np.ndarray:
    """[T, H, W, 3] of a lower resolution, brought back to their size."""
    _, height, width, _ = frames.shape
    small, size = (width // smaller, height // smaller), (width, height)
    pictures = (Image.fromarray(one).resize(small, Image.Resampling.BOX) for one in frames)
    return np.stack([np.asarray(one.resize(size, Image.Resampling.BILINEAR)) for one in pictures])


def slow(frames: np.ndarray, each: int = EACH) -> np.ndarray:
    """[T, H, W, 3] of a lower frame rate: each of those that are left stands until the next."""
    return frames[np.arange(len(frames)) // each * each]


@dataclass(frozen=True)
class Footage:
    """A way to show less than happens.

    Attributes:
        name: Of it and of its question.
        folder: Of its clips.
        change: Makes its frames of those of whole clips, [T, H, W, 3].
        until_s: Up to when all is shown and nothing after it, where that is known from the log; None where
            references say what can be seen.
    """

    name: str
    folder: str
    change: Callable[[np.ndarray], np.ndarray]
    until_s: float | None = None


FOOTAGE = {
    one.name: one
    for one in (
        Footage("unseen", "stopped", still, END_S),
        Footage("coarse", "coarse", coarse),
        Footage("slow", "slow", slow),
    )
}


def film_others(pool: Path) -> None:
    """Make the clips that references learn from, as they are before anything is taken from them."""
    world = pool / "home-other"
    simulate(world, clips=OTHERS, venue="home", seed=_SEED, workers=1)
    once(world / WORDS, lambda: in_home_words(world, _SEED))


def film(world: Path, to: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Film the clips of a world anew.

    Args:
        world: Folder of clips and labels.
        to: New folder; labels and log are those of the whole clips.
        change: Makes frames of those of whole clips, [T, H, W, 3].
    """
    (to / "clips").mkdir(parents=True, exist_ok=True)
    for name in (WORDS, "events.jsonl", "dataset.json"):
        (to / name).write_bytes((world / name).read_bytes())
    for path in sorted((world / "clips").glob("*.mp4")):
        if not (to / "clips" / path.name).exists():
            frames = decode(Clip(path.stem, path), Uniform(count=FRAMES)).pixels
            write_mp4(to / "clips" / path.name, change(frames), FPS)


def shown_by_log(world: Path, until_s: float) -> Shown:
    """What clips show of their stories that stand still from a moment on."""
    records = load_records(world / "events.jsonl")
    return {one.index: frozenset(shown_until(one, until_s)) & frozenset(story(one)) for one in records}


def rivals(claim: Claim, record: Record) -> list[Claim]:
    """What could stand in a claim's place, one word changed, and is false by the whole log."""
    balls = (WHITE, *record.balls)
    if claim.kind in ("break", "untouched"):
        others = [Claim("break"), Claim("untouched"), *(Claim("hits", WHITE, ball) for ball in record.balls)]
    else:
        places = {"pocket": POCKETS, "cushion": SIDES}.get(claim.kind, balls)
        others = [Claim(claim.kind, claim.subject, place) for place in places]
        others += [Claim(claim.kind, ball, claim.where) for ball in balls]
    truth = true_claims(record)
    return [one for one in others if one not in truth and one.subject != one.where]


def shown_to(models: Sequence[Path], world: Path, clips: int) -> Shown:
    """What references see of the stories of clips.

    A claim is seen if they find it likelier (by the mean of their log-probabilities), behind the true ones
    before it, than every rival.

    Args:
        models: References, which have learned from other clips of the same footage.
        world: Folder of clips and log.
        clips: How many of them.
    """
    records = [one for one in load_records(world / "events.jsonl") if one.index < clips]
    contests = {one.index: _contests(one) for one in records}
    totals = {one.index: [np.zeros(len(texts)) for texts in contests[one.index]] for one in records}
    for model in models:
        engine = load(model)
        likelihoods = Likelihoods(engine)
        media = [Clip(str(one.index), world / "clips" / f"{one.index:06d}.mp4") for one in records]
        for record, clip in zip(records, engine.watch(media, workers=0), strict=True):
            assert isinstance(clip, SeenClip)
            samples = [[_said(clip.clip, words) for words in texts] for texts in contests[record.index]]
            found = likelihoods.with_clips([clip] * len(samples), samples)
            for total, logs in zip(totals[record.index], found, strict=True):
                # The mark that ends an answer is no part of a sentence.
                total += [float(one.own[:-1].sum()) for one in logs]
    return {
        one.index: frozenset(
            claim
            for claim, total in zip(story(one), totals[one.index], strict=True)
            if total[0] > total[1:].max(initial=-np.inf)
        )
        for one in records
    }


def _contests(record: Record) -> list[list[str]]:
    """Of each claim of a story, the text up to it, and the same with each rival in its place."""
    style, before, found = STYLES["home"], "", []
    for claim in story(record):
        found.append([f"{before}{one.say(style)}." for one in (claim, *rivals(claim, record))])
        before += f"{claim.say(style)}. "
    return found


def _said(clip: Clip, words: str) -> Sample:
    return Sample(clip.id, (clip,), (Turn("user", QUESTION), Turn("assistant", words)))


def write_shown(path: Path, shown: Shown) -> None:
    """Write what is shown."""
    rows = {str(at): sorted([one.kind, one.subject, one.where] for one in seen) for at, seen in shown.items()}
    write_json(path, rows)


def read_shown(path: Path) -> Shown:
    """Read what `write_shown` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {int(at): frozenset(Claim(*one) for one in seen) for at, seen in rows.items()}
