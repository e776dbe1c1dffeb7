"""Five captions of a clip, drawn in several ways: what they tell together at equal factuality.

    python benchmarks/studies/diversity.py run [--seeds 0,1,2]
    python benchmarks/studies/diversity.py table

`run` trains the shipped model on captions of its venue that tell some of what happened in one of three
wordings, some of them behind an example of style, and on questions about one facet; then captions clips it
has not seen in each way. What is finished is not done again, so it can be stopped. `table` writes the
section "Diversity" of `docs/studies/measure.md` and the results file.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _tables import RESAMPLES, line, write_between

from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store.work import caption_store
from vidapt.files import write_json, write_text
from vidapt.inference.cues import with_cue
from vidapt.inference.diversity import Cues, Diversity
from vidapt.inference.load import load
from vidapt.measure.diversity.command import world_judged
from vidapt.measure.diversity.told import read_told
from vidapt.metrics.diversity import spread, together
from vidapt.metrics.text import words
from vidapt.models.decoding import Decoding
from vidapt.models.sampling import ByEntropy, Cooling
from vidapt.progress import silent
from vidapt.recipe import Recipe
from vidapt.training.run import train
from vidapt.worlds.billiards import STYLES, Claim, Record, load_records, simulate, story

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies" / "measure.md"
RESULTS = ROOT / "benchmarks" / "results" / "diversity_study.json"
BEGIN, END = "<!-- diversity: written by the study's `table` -->", "<!-- end of diversity -->"

START, K = "billiards-home", 5
STEPS, RATE = 300, 1e-3
LEARNED, ASKED = (400, 9201), (120, 9200)
"""Clips and seed of the two pools."""

CAPTION = "describe the video."
PATHS = "describe the trajectory of each ball as precisely as possible."
MEETINGS, POCKETS, CUSHIONS = (
    "say which balls meet.",
    "say which balls fall.",
    "say which cushions are touched.",
)
FACETS = (CAPTION, PATHS, MEETINGS, POCKETS, CUSHIONS)
KINDS = {MEETINGS: ("hits",), POCKETS: ("pocket",), CUSHIONS: ("cushion",)}

GREEDY = "greedy, one"
CURVE = {GREEDY: 0.0} | {f"temperature {t:g}": t for t in (0.15, 0.3, 0.5, 0.8, 1.0, 1.3, 1.6)}
"""Arms of plain sampling, against which all others are held at their own factuality."""

RATES = ("coverage", "contradicted", "contradicted_at_k", "unread")


def arms(cues: Path) -> dict[str, tuple[int, Diversity]]:
    """Captions of a clip, and how they come to differ, by name."""
    style = Cues(labels=cues)
    found = {name: (K if value else 1, Diversity(temperature=value)) for name, value in CURVE.items()}
    found |= {
        "cooling 1.5 to 0.5": (K, Diversity(temperature=0.5, cooling=Cooling(first=1.5, tokens=8))),
        "cooling 1 to 0.3": (K, Diversity(temperature=0.3, cooling=Cooling(first=1.0, tokens=4))),
        "cooling 2 to 0.3": (K, Diversity(temperature=0.3, cooling=Cooling(first=2.0, tokens=4))),
        "entropy 0.5": (K, Diversity(temperature=0.5, entropy=ByEntropy(theta=0.5))),
        "entropy 1.0": (K, Diversity(temperature=1.0, entropy=ByEntropy(theta=0.5))),
        "entropy 1.6": (K, Diversity(temperature=1.6, entropy=ByEntropy(theta=0.5))),
        "min-p 0.5": (K, Diversity(temperature=0.5, min_p=0.1)),
        "min-p 1.0": (K, Diversity(temperature=1.0, min_p=0.1)),
        "min-p 1.6": (K, Diversity(temperature=1.6, min_p=0.1)),
        "top-h 1.0": (K, Diversity(temperature=1.0, top_h=0.4)),
        "paths, one": (1, Diversity(temperature=0.0, facets=(PATHS,))),
        "facets, greedy": (K, Diversity(temperature=0.0, facets=FACETS)),
        "facets 0.3": (K, Diversity(temperature=0.3, facets=FACETS)),
        "facets 0.8": (K, Diversity(temperature=0.8, facets=FACETS)),
        "cues, greedy": (K, Diversity(temperature=0.0, cues=style)),
        "cues 0.3": (K, Diversity(temperature=0.3, cues=style)),
        "cues 0.8": (K, Diversity(temperature=0.8, cues=style)),
    }
    return found


def run(runs: Path, pool: Path, seeds: list[int]) -> None:
    """Train and caption what is not there yet."""
    for name, (clips, seed) in (("learned", LEARNED), ("asked", ASKED)):
        simulate(pool / name, clips=clips, venue="home", seed=seed, workers=1)
    write_words(pool / "learned")
    for seed in seeds:
        began = time.process_time()
        model = train(_recipe(pool, seed), runs, silent, resume=True, workers=0, track=())
        engine, asked = load(model), sorted((pool / "asked").rglob("*.mp4"))
        for name, (count, way) in arms(pool / "learned" / "style.jsonl").items():
            caption_store(
                Builtin(engine),
                asked[0].parent,
                _said(runs, name, seed),
                decoding=Decoding(max_new_tokens=128),
                n=count,
                diversity=way.model_copy(update={"seed": seed}),
                workers=0,
            )
        print(f"seed {seed}: {time.process_time() - began:.0f} s of CPU", flush=True)


def write_words(folder: Path) -> None:
    """Write `words.jsonl`, which is learned, and `style.jsonl`, the captions that cues come from."""
    records = {record.index: record for record in load_records(folder / "events.jsonl")}
    rng = np.random.default_rng(0)
    plain = {index: [_some(record, rng) for _ in range(4)] for index, record in records.items()}
    learned: list[dict[str, Any]] = []
    style: list[dict[str, Any]] = []
    for index, record in records.items():
        video = f"clips/{index:06d}.mp4"
        style.append({"id": f"{index}", "video": video, "caption": plain[index][0][1]})
        rows = [(CAPTION, [text for _, text in plain[index]])]
        rows.append((PATHS, [_tell(story(record), _style(rng)) for _ in range(2)]))
        for _ in range(2):
            other = int(rng.choice([one for one in records if one != index]))
            name, example = plain[other][int(rng.integers(4))]
            words_of = Cues.model_fields["words"].default
            rows.append((with_cue(words_of, example, CAPTION), [_some(record, rng, name)[1]]))
        for facet, kinds in KINDS.items():
            claims = [one for one in story(record) if one.kind in kinds]
            if claims:
                rows.append((facet, [_tell(claims, _style(rng)) for _ in range(2)]))
        for at, (question, answers) in enumerate(rows):
            learned.append({"id": f"{index}#{at}", "video": video, "question": question, "answers": answers})
    for name, found in (("words.jsonl", learned), ("style.jsonl", style)):
        write_text(folder / name, "".join(json.dumps(row) + "\n" for row in found))


def _some(record: Record, rng: np.random.Generator, style: str | None = None) -> tuple[str, str]:
    """A wording, and some of a clip's story in it, in order of time."""
    claims, name = story(record), style or _style(rng)
    count = min(len(claims), int(rng.integers(1, 4)))
    chosen = sorted(rng.permutation(len(claims))[:count].tolist())
    return name, _tell([claims[at] for at in chosen], name)


def _style(rng: np.random.Generator) -> str:
    return str(rng.choice(sorted(STYLES)))


def _tell(claims: Sequence[Claim], style: str) -> str:
    return " ".join(f"{claim.say(STYLES[style])}." for claim in claims)


def _recipe(pool: Path, seed: int) -> Recipe:
    stage = {
        "name": "varied",
        "data": [{"path": str(pool / "learned" / "words.jsonl")}],
        "train": {"towers": "full", "connector": "full", "language": "full"},
        "batching": {"clips": 4, "questions": 8},
        "optimizer": {"rates": dict.fromkeys(("towers", "connector", "language"), RATE), "warmup": 0.1},
        "steps": STEPS,
        "save_every": 1000,
    }
    return Recipe.model_validate({"name": f"varied-{seed}", "start": START, "seed": seed, "stages": [stage]})


def _said(runs: Path, name: str, seed: int) -> Path:
    return runs / "said" / str(seed) / f"{name.replace(' ', '_').replace(',', '')}.jsonl"


def table(runs: Path, pool: Path) -> None:
    """Write the section and the results."""
    judge = world_judged(pool / "asked")
    assert judge is not None
    names = list(arms(pool / "learned" / "style.jsonl"))
    seeds = sorted(int(path.name) for path in (runs / "said").iterdir())
    counts = np.zeros((len(names), len(seeds), ASKED[0], 8))
    plain = np.zeros((len(names), len(seeds), ASKED[0], 5))
    for a, name in enumerate(names):
        for s, seed in enumerate(seeds):
            (told,) = read_told([_said(runs, name, seed)], pool / "asked" / "labels.jsonl").told
            for c, (clip, texts) in enumerate(told.texts.items()):
                judged = [judge(clip, text) for text in texts]
                sums = together([one for one, _ in judged], judged[0][1])
                counts[a, s, c] = (
                    sums.covered,
                    sums.facts,
                    sums.contradicted,
                    sums.claims,
                    sums.different_false,
                    sums.different,
                    sums.unread,
                    sums.claims + sums.unread,
                )
                one = spread(texts)
                length = sum(len(words(text)) for text in texts) / len(texts)
                pairs = (one.self_bleu, one.distance, one.vendi)
                plain[a, s, c] = (one.distinct_2, *(np.nan if x is None else x for x in pairs), length)
    write_tables(names, counts, plain, len(seeds))


def write_tables(names: list[str], counts: np.ndarray, plain: np.ndarray, seeds: int) -> None:
    """Write tables of counts [arms, seeds, clips, 8] and numbers of texts [arms, seeds, clips, 5]."""
    rates, gaps = _rates(counts), _gaps(names, counts)
    head = (
        "way",
        "coverage@k",
        "contradicted",
        "contradicted@k",
        "unread",
        "distinct-2",
        "self-BLEU",
        "1 − cos",
        "Vendi",
    )
    lines = [line([*head, "words"]), line(["---"] * (len(head) + 1))]
    for a, name in enumerate(names):
        shares = [f"{100 * rate.mean():.1f} ({100 * rate.std(ddof=1):.1f})" for rate in rates[a]]
        texts = ["-" if np.isnan(x) else f"{x:.2f}" for x in plain[a].mean(axis=(0, 1))]
        lines.append(line([f"`{name}`", *shares, *texts[:-1], f"{plain[a, ..., -1].mean():.1f}"]))
    lines += ["", line(["way", "not true, percent", "coverage@k beyond plain sampling", "so"])]
    lines.append(line(["---"] * 4))
    lines += [line([f"`{name}`", *told["shown"]]) for name, told in gaps.items()]
    text = f"{counts.shape[2]} clips, {seeds} seeds; standard deviations of seeds in brackets."
    write_between(PAGE, BEGIN, "\n".join([text, "", *lines]), END)
    told = {name: dict(zip(RATES, map(list, rates[a]), strict=True)) for a, name in enumerate(names)}
    write_json(RESULTS, {"ways": told, "beyond": {name: one["interval"] for name, one in gaps.items()}})
    print("\n".join(lines))


def _rates(counts: np.ndarray) -> np.ndarray:
    """[arms, 4, seeds]: see `RATES`."""
    sums = counts.sum(axis=2)
    return np.stack([sums[..., at] / sums[..., at + 1] for at in range(0, 8, 2)], axis=1)


def _gaps(names: list[str], counts: np.ndarray) -> dict[str, dict[str, Any]]:
    """By how much each other way tells more than the best plain sampling that is as true or truer.

    Seeds and clips are drawn anew, and plain sampling with them.
    """
    curve = [at for at, name in enumerate(names) if name in CURVE]
    rng = np.random.default_rng(0)
    _, seeds, clips, _ = counts.shape
    of_seeds = rng.multinomial(seeds, [1 / seeds] * seeds, RESAMPLES)
    of_clips = rng.multinomial(clips, [1 / clips] * clips, RESAMPLES)
    drawn = np.einsum("rs,ascn,rc->ran", of_seeds, counts, of_clips, optimize=True)
    whole = counts.sum(axis=(1, 2))
    found: dict[str, dict[str, Any]] = {}
    for at, name in enumerate(names):
        if at in curve:
            continue
        value = _beyond(whole[None], curve, at)[0]
        low, high = np.quantile(_beyond(drawn, curve, at), [0.025, 0.975])
        shown = f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
        apart = low > 0 or high < 0
        so = ("more" if low > 0 else "less") if apart else "not distinguishable"
        told = [f"{100 * _untrue(whole[None])[0, at]:.1f}", f"**{shown}**" if apart else shown, so]
        found[name] = {"interval": [float(value), float(low), float(high)], "shown": told}
    return found


def _untrue(sums: np.ndarray) -> np.ndarray:
    """[R, arms] share of all statements that are false or that nobody can read, of [R, arms, 8]."""
    untrue: np.ndarray = (sums[..., 2] + sums[..., 6]) / sums[..., 7]
    return untrue


def _beyond(sums: np.ndarray, curve: list[int], at: int) -> np.ndarray:
    """[R] coverage less that of the best plain sampling of which no more is untrue, of [R, arms, 8]."""
    untrue, told = _untrue(sums), sums[..., 0] / sums[..., 1]
    found = np.empty(len(sums))
    for r in range(len(sums)):
        x, y = untrue[r, curve], told[r, curve]
        order = np.argsort(x)
        here = np.interp(untrue[r, at], x[order], y[order])
        found[r] = told[r, at] - max([here, *y[x <= untrue[r, at]]])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "study-diversity")
    parser.add_argument("--pool", type=Path, default=ROOT / "pool" / "study-diversity")
    parser.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    if given.what == "table":
        table(given.runs, given.pool)
    else:
        run(given.runs, given.pool, [int(seed) for seed in given.seeds.split(",")])


if __name__ == "__main__":
    main()
