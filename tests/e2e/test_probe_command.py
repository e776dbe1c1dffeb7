"""`vidapt probe` on a simulated pool table: what is to be seen is found, and what is not is not."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.probing.seen import Answers
from vidapt.probing.verdicts import WORDS
from vidapt.worlds.billiards import simulate

CLIPS = 40
TYPES = ("shirt",)
MODEL = "billiards-home"


def run(*words: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [*map(str, words)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips with two visible types, and one of which nothing is to be seen; returns the labels."""
    folder = tmp_path_factory.mktemp("pool") / "pool"
    simulate(folder, clips=CLIPS, seed=3, workers=1)
    rows = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    kept = [row for row in rows if row["facts"]["type"] in TYPES]
    draws = random.Random(0)
    for video in sorted({row["video"] for row in rows}):
        answer = draws.choice(["heads", "tails"])
        kept.append(
            {"id": f"{video}/coin", "video": video, "question": "how did the coin fall?", "answer": answer}
        )
    # Of this there is too little, so that nobody looks at its clip, which is not there.
    kept.append({"id": "rare", "video": "gone.mp4", "question": "how is the weather?", "answer": "fine"})
    labels = folder / "some.jsonl"
    labels.write_text("".join(f"{json.dumps(row)}\n" for row in kept))
    return labels


def visibility(one: dict[str, Any], place: str, probe: str = "chosen") -> dict[str, float]:
    return dict(one["places"][place][probe]["visibility"])


def test_what_is_seen_is_found_and_what_is_not_is_not(pool: Path, tmp_path: Path) -> None:
    own = ("probe", MODEL, pool, "--workers", "0", "--no-attentive", "--out", tmp_path / "probe.json")
    status, said, told = run(*own, "--json")
    assert status == 0, told
    found = json.loads(said)
    assert found == json.loads((tmp_path / "probe.json").read_text())
    assert (found["clips"], found["broken"], found["folds"]) == (CLIPS, {}, 5)
    by_name = {one["name"]: one for one in found["types"]}
    shirt = by_name["shirt"]
    assert visibility(shirt, "connector")["low"] > 0.1
    assert shirt["own"]["visibility"]["value"] > 0.9
    assert (shirt["verdict"], shirt["says"]) == ("told", WORDS["told"])
    (rare,) = (one for name, one in by_name.items() if "weather" in name or name == "other questions")
    assert (rare["verdict"], rare["n"], rare["places"]) == ("few", 1, {})
    (coin,) = (one for name, one in by_name.items() if "coin" in name)
    for place in ("tower", "connector"):
        assert visibility(coin, place)["low"] < 0.15
    assert coin["verdict"] in ("unsure", "unseen")
    assert coin["wordings"] == ["how did the coin fall?"[:-1]]

    store = next((tmp_path / "probe.features").glob("probe-*/*.safetensors"))
    before, answers = store.stat().st_mtime_ns, (tmp_path / "probe.answers.jsonl").read_bytes()
    assert answers.count(b"\n") == shirt["n"] + coin["n"]
    status, said, _ = run(*own)
    assert status == 0
    assert "told: " in said
    assert json.loads((tmp_path / "probe.json").read_text()) == found
    assert store.stat().st_mtime_ns == before, "no clip is seen twice"
    assert (tmp_path / "probe.answers.jsonl").read_bytes() == answers
    with Answers(tmp_path / "probe.answers.jsonl", "another model") as other:
        assert other.of("any", "how did the coin fall?") is None


def test_clips_that_are_gone_are_told_and_ended_by(pool: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in pool.read_text().splitlines()]
    rows = rows[:-1]
    for row in rows[3:]:
        row["video"] = str(pool.parent / row["video"])
    labels = tmp_path / "labels.jsonl"
    own = (
        "probe",
        MODEL,
        labels,
        "--workers",
        "0",
        "--no-ask",
        "--no-attentive",
        "--no-frames",
        "--tokens",
        "8",
    )
    labels.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    status, said, told = run(*own, "--out", tmp_path / "some.json", "--json")
    assert status == 0, told
    assert list(json.loads(said)["broken"]) == sorted({row["video"] for row in rows[:3]})
    assert json.loads(said)["clips"] == CLIPS
    labels.write_text("".join(f"{json.dumps(row | {'video': 'gone-' + row['id'][:6]})}\n" for row in rows))
    status, _, told = run(*own, "--out", tmp_path / "none.json")
    assert status == 2
    assert "none can be used" in " ".join(told.split())


def test_questions_that_cannot_be_read_are_left_out_and_told(pool: Path, tmp_path: Path) -> None:
    rows = [row for line in pool.read_text().splitlines() if "coin" in (row := json.loads(line))["question"]]
    labels, out = tmp_path / "labels.jsonl", tmp_path / "probe.json"

    def probed(unreadable: int) -> tuple[int, str, str]:
        for at, row in enumerate(rows):
            row["video"] = str(pool.parent / row["video"])
            row["facts"] = {"type": "coin", "value": row["answer"]}
            row["question"] = f"how did the {'old ' * 3000 if at < unreadable else ''}coin fall?"
        labels.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return run("probe", MODEL, labels, "--workers", "0", "--no-attentive", "--tokens", "8", "--out", out)

    status, _, told = probed(6)
    assert status == 0, told
    assert "6 questions cannot be read, such as" in " ".join(told.split())
    found = json.loads(out.read_text())
    assert list(found["unread"]) == [row["id"] for row in rows[:6]]
    assert sum(one["n"] for one in found["types"]) == len(rows) - 6
    status, _, told = probed(len(rows))
    assert status == 2
    assert "the model can read no question" in " ".join(told.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--least", "500"), "lower --least"),
        (("--by", "("), "no regular expression"),
        (("--by", "clips"), "hang together in 1 groups"),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[str, ...], told: str, pool: Path, tmp_path: Path) -> None:
    more = ("--workers", "0", "--no-ask", "--tokens", "8", "--no-frames", "--out", tmp_path / "probe.json")
    status, _, error = run("probe", MODEL, pool, *more, *words)
    assert status == 2
    assert told in " ".join(error.split())
    assert not (tmp_path / "probe.json").exists()
