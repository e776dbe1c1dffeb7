"""What the study of adaptation trains: every arm as the stages of a recipe, question by question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _adapt_data import (
    HOME_CLIPS,
    OWN,
    POOLED,
    REFERENCES,
    SIDES,
    SIZED,
    SIZES,
    STILLS,
    UNIFIED,
    WORDS,
    references_file,
)

from vidapt.recipe import Recipe

START = "billiards-home"
SHORT = (
    "break",
    "count",
    "pocket_colour",
    "number_pocketed",
    "which_pocket",
    "first_hit",
    "exists",
    "true_false",
    "false_premise",
    "cushion_first",
    "scratch",
    "shirt",
)
"""Types of question with a short answer, which are all that is scored."""

LONG = ("trajectory", "caption")
STEPS = 60
RATES = {"towers": 1e-3, "connector": 1e-3, "language": 1e-3}
SCALES = (0.0, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0)

Stages = list[dict[str, Any]]


@dataclass(frozen=True)
class Arm:
    """One way to adapt.

    Attributes:
        name: Of it and of its runs, with the seed behind.
        stages: Of its recipe, by the folder of data and the seed; none is the start as it is.
        scales: Of its adapters, at each of which it is measured under a name of its own.
        sets: What it is asked about.
        blind: Whether it is also asked without the clip.
    """

    name: str
    stages: Callable[[Path, int], Stages] | None
    scales: tuple[float, ...] = ()
    sets: tuple[str, ...] = ("club", "home")
    blind: bool = False

    def recipe(self, pool: Path, seed: int) -> Recipe | None:
        """What is trained."""
        if self.stages is None:
            return None
        told = {"name": f"{self.name}-{seed}", "start": START, "seed": seed}
        return Recipe.model_validate({**told, "stages": self.stages(pool, seed)})

    @property
    def names(self) -> list[str]:
        """Under which it is measured."""
        return [f"{self.name}@{scale:g}" for scale in self.scales] or [self.name]


def club(
    pool: Path, seed: int = 0, clips: int = POOLED, types: Sequence[str] = SHORT, file: str = WORDS
) -> dict[str, Any]:
    """Clips of the club: other ones for every seed where fewer than `POOLED` are asked for."""
    skip = clips * seed % (POOLED + 1 - clips) if clips < POOLED else 0
    return {"path": str(pool / "club" / file), "types": list(types), "limit": clips, "skip": skip}


def home(pool: Path) -> dict[str, Any]:
    """Clips of the home venue, which the start has learned to answer, though not these ones."""
    return {"path": str(pool / "home" / WORDS), "types": list(SHORT), "limit": HOME_CLIPS}


def stage(
    data: Sequence[Mapping[str, Any]],
    *,
    towers: str = "frozen",
    connector: str = "full",
    language: str = "full",
    steps: int = STEPS,
    name: str = "adapt",
    rates: Mapping[str, float] = RATES,
    batching: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A stage: four clips a step, eight questions of each."""
    return {
        "name": name,
        "data": [dict(one) for one in data],
        "train": {"towers": towers, "connector": connector, "language": language},
        "batching": {"clips": 4, "questions": 8, **(batching or {})},
        "cache": {"dtype": "float16"},
        "optimizer": {"rates": dict(rates), "weight_decay": 0.03, "warmup": 0.1},
        "steps": steps,
        "save_every": 1000,
        **more,
    }


PARTS: dict[str, dict[str, str]] = {
    "language": {"connector": "frozen"},
    "connector": {"language": "frozen"},
    "language_connector": {},
    "everything": {"towers": "full"},
}


FAR = {"steps": 150, "rates": {**RATES, "language": 2e-3}}
"""Of arms that learn the club's own words, too: the start has met few of them."""


def _own(learns: Mapping[str, str]) -> Callable[[Path, int], Stages]:
    return lambda pool, seed: [stage([club(pool, file=OWN)], **FAR, **learns)]


def own_words() -> list[Arm]:
    """Which parts learn from the club's own words, alone or beside questions of the home venue."""

    def replay(pool: Path, seed: int) -> Stages:
        return [stage([club(pool, file=OWN), home(pool)], mix={"by": "ratio"}, **FAR)]

    far = ("own", "home")
    return [
        Arm("own_language_connector", _own(PARTS["language_connector"]), sets=far),
        Arm("own_language", _own(PARTS["language"]), sets=far),
        Arm("own_and_home", replay, sets=far),
        Arm("own_everything", _own(PARTS["everything"]), sets=far),
    ]


FROZEN = ("language", "connector", "language_connector")
"""Of these, the ones whose tower does not learn."""


def _parts(learns: Mapping[str, str], clips: int, steps: int = STEPS) -> Callable[[Path, int], Stages]:
    return lambda pool, seed: [stage([club(pool, seed, clips)], steps=steps, **learns)]


def parts() -> list[Arm]:
    """Which parts learn from 300 clips."""
    start = Arm("start", None, sets=("club", "home", "stills", "sizes", "own"), blind=True)
    first = [Arm(f"{name}_300", _parts(PARTS[name], 300), blind=True) for name in FROZEN]
    return [start, *first]


def tower() -> list[Arm]:
    """The same, and the tower learns, too."""
    return [Arm("everything_300", _parts(PARTS["everything"], 300), blind=True)]


def fewer(clips: int, names: Sequence[str]) -> list[Arm]:
    """Which parts learn from fewer clips in as many steps."""
    return [Arm(f"{name}_{clips}", _parts(PARTS[name], clips)) for name in names]


def slow_tower() -> list[Arm]:
    """Everything, with a tower that learns a seventh as fast."""
    rates = {**RATES, "towers": RATES["towers"] / 7}

    def stages(pool: Path, seed: int) -> Stages:
        return [stage([club(pool)], towers="full", rates=rates)]

    return [Arm("everything_slow_300", stages)]


def adapters(one: dict[str, Any]) -> dict[str, Any]:
    """A stage whose language model learns through adapters."""
    one["train"]["lora"] = {"rank": 16, "alpha": 32}
    return one


def _lora(pool: Path, seed: int) -> Stages:
    return [adapters(stage([club(pool, seed)], language="lora", rates={**RATES, "language": 2e-3}))]


def scales() -> list[Arm]:
    """Adapters, and a connector that learns with them as PLLaVA's does, asked at several strengths."""
    return [Arm("lora", _lora, SCALES)]


TAKEN = 8 / 13
"""Eight questions of a visit, as a share of the short ones that a clip has on average."""


HALF_FAR = {**FAR, "steps": FAR["steps"] // 2}


def _short(pool: Path) -> dict[str, Any]:
    """Short questions in the club's own words, half as long as `FAR` is."""
    return stage([club(pool, file=OWN)], name="short", **HALF_FAR)


def venues() -> list[Arm]:
    """The home venue's questions first and then the club's; `own_and_home` mixes as many of each."""

    def staged(pool: Path, seed: int) -> Stages:
        return [stage([home(pool)], name="home", **HALF_FAR), _short(pool)]

    both = ("own", "home")
    return [
        Arm("own_half", lambda pool, seed: [_short(pool)], sets=both),
        Arm("home_then_own", staged, sets=both),
    ]


def kinds() -> list[Arm]:
    """Texts first and then short questions, or both mixed; equal numbers of each are seen."""
    share = {**dict.fromkeys(SHORT, TAKEN / 2), **dict.fromkeys(LONG, 0.5)}

    def staged(pool: Path, seed: int) -> Stages:
        texts = stage([club(pool, types=LONG, file=OWN)], name="texts", **HALF_FAR)
        return [texts, _short(pool)]

    def mixed(pool: Path, seed: int) -> Stages:
        batching = {"questions": None, "share": share}
        return [stage([club(pool, types=SHORT + LONG, file=OWN)], batching=batching, **FAR)]

    return [
        Arm("texts_then_short", staged, sets=("own",)),
        Arm("texts_and_short", mixed, sets=("own",)),
    ]


def references() -> list[Arm]:
    """Several right answers to each question, each of which weighs as one part of them.

    A step draws answers, so it takes as many times more of them as there are to a question.
    """
    files = {1: WORDS} | {count: references_file(count) for count in reversed(REFERENCES)}

    def arm(count: int) -> Arm:
        batching = {"questions": 8 * count}
        return Arm(
            f"references_{count}",
            lambda pool, seed: [stage([club(pool, file=files[count])], batching=batching)],
            sets=("club",),
        )

    return [arm(count) for count in files]


def stills() -> list[Arm]:
    """First frames beside clips, in steps of both or of one kind."""

    def stages(pool: Path, media: str) -> Stages:
        pictures = {"path": str(pool / "club" / STILLS)}
        return [stage([club(pool), pictures], batching={"media": media}, mix={"by": "ratio"})]

    sets = ("club", "stills")
    alone = Arm("short_half", lambda pool, seed: [stage([club(pool)], steps=STEPS // 2)], sets=sets)
    return [alone] + [
        Arm(f"stills_{media}", lambda pool, seed, media=media: stages(pool, media), sets=sets)
        for media in ("mixed", "apart")
    ]


def sizes() -> list[Arm]:
    """Clips of three sizes in any order, or the small ones first; of one size; as they were filmed."""

    def stages(pool: Path, file: str, **batching: Any) -> Stages:
        return [stage([{**club(pool, file=file), "limit": SIZED, "skip": 0}], batching=batching)]

    in_order = {"sizes": {"groups": list(SIDES), "order": "curriculum"}}
    sets = ("club", "sizes")
    return [
        Arm("sizes_mixed", lambda pool, seed: stages(pool, SIZES), sets=sets),
        Arm("sizes_rising", lambda pool, seed: stages(pool, SIZES, **in_order), sets=sets),
        Arm("sizes_unified", lambda pool, seed: stages(pool, UNIFIED), sets=sets),
        Arm("sizes_large", lambda pool, seed: stages(pool, WORDS), sets=sets),
    ]


LONGER = 250
"""Steps that see each of a thousand clips once."""


def more() -> list[Arm]:
    """Which parts learn from a thousand clips, each seen once."""

    def stages(pool: Path, learns: Mapping[str, str]) -> Stages:
        return [stage([{**club(pool), "limit": 1000, "skip": 0}], steps=LONGER, **learns)]

    return [
        Arm(f"{name}_1000", lambda pool, seed, learns=PARTS[name]: stages(pool, learns))
        for name in ("language", "everything")
    ]


def questions() -> list[tuple[str, list[Arm]]]:
    """All arms beside the letter of their question, in the order in which they are done."""
    ends = ("language", "everything")
    return [
        ("a", parts()),
        ("b", scales()),
        ("o", own_words()),
        ("c", venues()),
        ("d", references()),
        ("e", stills()),
        ("c", kinds()),
        ("f", sizes()),
        ("a", tower()),
        ("a", fewer(30, ends)),
        ("a", slow_tower()),
        ("a", fewer(100, ends)),
        ("a", more()),
    ]


LETTERS = "abocdef"
