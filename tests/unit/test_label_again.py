"""Labels that were set aside go back to the teacher, and what comes of it is merged with what was."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from clean_tools import run as clean
from label_tools import (
    beside,
    film_all,
    label,
    lines,
    pictures_of,
    provenance,
    recipe,
    usage,
)
from served_tools import said, serving

from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.teaching.again import anew

CLIPS = 5
REFUSED = "I'm sorry, but I can't assist with that request."
TEXT = "The {} ball rolls over the table and hits the {} one."
COLOURS = ("red", "blue", "green", "white", "black")


class Moody:
    """Refuses the first question about some clips, in words that no server marks."""

    def __init__(self, moods: int, stubborn: bool = False) -> None:
        self.heard: list[dict[str, Any]] = []
        self._refused: set[str] = set()
        self._moods, self._stubborn = moods, stubborn
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Any:
        with self._lock:
            self.heard.append(body)
            number = len(self.heard)
            first = pictures_of(body)[0]
            if number <= self._moods:
                self._refused.add(first)
            refuses = number <= self._moods or (self._stubborn and body["seed"] == 0)
        return said(REFUSED if refuses else TEXT.format(COLOURS[number % 5], COLOURS[number % 4]), **usage())


def cleaned(labels: Path) -> Path:
    """Clean labels; returns the rejected rows."""
    clean(labels, labels.with_name("clean.jsonl"), only=["refusal"])
    return labels.with_name("clean.rejected.jsonl")


def test_label_clean_label_again_clean(tmp_path: Path) -> None:
    clips, out, moody = film_all(tmp_path / "clips", CLIPS), tmp_path / "labels.jsonl", Moody(2)
    with serving(moody) as fake:
        settled = recipe(fake, endpoint={"concurrency": 1})
        first = label(settled, clips, out)
        assert (first.labelled, first.asked_again) == (CLIPS, 0)
        before = {row["clip"]: row for row in provenance(out)}
        rejected = cleaned(out)
        bad = {row["id"] for row in lines(rejected)}
        assert len(bad) == 2

        summary = label(settled, clips, out, again=rejected)

        assert (summary.asked_again, summary.unmended, summary.left, summary.kept) == (2, 0, 0, CLIPS - 2)
        assert summary.calls == len(moody.heard) == CLIPS + 2
        after = {row["clip"]: row for row in provenance(out)}
        assert list(after) == list(before)
        for name, row in after.items():
            if name not in bad:
                assert row == before[name]
                continue
            assert (row["again"], row["settings"], row["key"]) == (
                1,
                before[name]["settings"],
                before[name]["key"],
            )
            assert len(row["frames"]) == 2 * len(before[name]["frames"])
            assert row["voices"][0]["seed"] == 1
            assert row["calls"][0] == before[name]["calls"][0], "what was paid before is not forgotten"
            assert row["usage"]["money"] == pytest.approx(2 * before[name]["usage"]["money"])
        assert sum(row["usage"]["money"] for row in after.values()) == pytest.approx(summary.money)
        assert lines(cleaned(out)) == []
        assert len(lines(out.with_name("clean.jsonl"))) == CLIPS

        # Nothing of it is asked a third time, neither by the same command nor by the plain one.
        rejected.write_text("".join(f"{json.dumps(row)}\n" for row in _rejected(before, bad)))
        assert label(settled, clips, out, again=rejected).asked_again == 0
        assert label(settled, clips, out).kept == CLIPS
        assert len(moody.heard) == CLIPS + 2


def _rejected(rows: dict[str, dict[str, Any]], bad: set[str]) -> list[dict[str, Any]]:
    texts = {one["id"]: one["text"] for row in rows.values() for one in row["labels"]}
    return [
        {"id": name, "again": True, "row": {"id": name, "question": "", "answer": texts[name]}}
        for name in bad
    ]


def test_a_budget_ends_it_and_more_money_goes_on(tmp_path: Path) -> None:
    clips, out, moody = film_all(tmp_path / "clips", CLIPS), tmp_path / "labels.jsonl", Moody(CLIPS)
    with serving(moody) as fake:
        own = {"endpoint": {"concurrency": 1, "tokens_per_frame": 4}, "decoding": {"max_tokens": 20}}
        settled = recipe(fake, **own)
        label(settled, clips, out)
        rejected = cleaned(out)
        spent = CLIPS * 120
        little = recipe(fake, **own, budget={"tokens": spent + 120 + 900})
        summary = label(little, clips, out, again=rejected)
        assert 0 < summary.asked_again < CLIPS
        assert summary.left == CLIPS - summary.asked_again
        done = summary.asked_again
        summary = label(settled, clips, out, again=rejected)
        assert (summary.asked_again, summary.left) == (CLIPS - done, 0)
        assert len(moody.heard) == summary.calls == 2 * CLIPS
        assert lines(cleaned(out)) == []


def test_what_a_job_had_done_before_it_died_is_not_asked_again(tmp_path: Path) -> None:
    clips, out, moody = film_all(tmp_path / "clips", CLIPS), tmp_path / "labels.jsonl", Moody(CLIPS)
    dead = [False]

    def dying(body: dict[str, Any]) -> Any:
        return (
            (401, {"error": {"message": "no"}}) if dead[0] and len(moody.heard) == CLIPS + 2 else moody(body)
        )

    with serving(dying) as fake:
        settled = recipe(fake, endpoint={"concurrency": 1})
        label(settled, clips, out)
        before, rejected = provenance(out), cleaned(out)
        dead[0] = True
        with pytest.raises(VidaptError, match="401"):
            label(settled, clips, out, again=rejected)
        assert provenance(out) == before, "nothing is put in place by halves"
        assert len(lines(beside(out, "partial"))) == 2
        dead[0] = False
        summary = label(settled, clips, out, again=rejected)
        assert (summary.asked_again, summary.left) == (CLIPS, 0)
        assert len(moody.heard) == summary.calls == 2 * CLIPS
        assert [row["again"] for row in provenance(out)] == [1] * CLIPS
        assert not beside(out, "partial").exists()


def test_who_refuses_again_keeps_what_was_and_is_told(tmp_path: Path) -> None:
    clips, out = film_all(tmp_path / "clips", 2), tmp_path / "labels.jsonl"

    def broken_later(body: dict[str, Any]) -> Any:
        return said(REFUSED, **usage()) if body["seed"] == 0 else said("", **usage())

    with serving(broken_later) as fake:
        settled = recipe(fake)
        label(settled, clips, out)
        before = provenance(out)
        (clips / "0.txt").write_text("no clip")
        summary = label(settled, clips, out, again=cleaned(out))
        assert (summary.asked_again, summary.unmended, summary.left) == (0, 2, 0)
        after = provenance(out)
        assert [row["labels"] for row in after] == [row["labels"] for row in before]
        assert [row["again"] for row in after] == [0, 0]
        assert [len(row["calls"]) for row in after] == [3, 3], "what was asked in vain is paid, too"
        paid = [row["usage"]["money"] for row in after]
        assert sum(paid) == pytest.approx(summary.money)
        label(settled, clips, out, again=cleaned(out))
        assert [row["usage"]["money"] for row in provenance(out)] == paid, "kept answers are paid once"
        assert not beside(out, "quarantine").exists()


def test_clips_that_are_broken_stay_in_quarantine(tmp_path: Path) -> None:
    clips, out, moody = film_all(tmp_path / "clips", 3), tmp_path / "labels.jsonl", Moody(1)
    (clips / "bad.mp4").write_bytes(b"no video at all")
    with serving(moody) as fake:
        settled = recipe(fake, endpoint={"concurrency": 1})
        label(settled, clips, out)
        (before,) = lines(beside(out, "quarantine"))
        assert label(settled, clips, out, again=cleaned(out)).asked_again == 1
        assert lines(beside(out, "quarantine")) == [before]


def test_what_is_no_rejected_row_of_these_labels_is_refused(tmp_path: Path) -> None:
    clips, out = film_all(tmp_path / "clips", 1), tmp_path / "labels.jsonl"
    with serving(Moody(0)) as fake:
        settled = recipe(fake)
        label(settled, clips, out)
        rows: list[tuple[str, type[Exception], str]] = [
            ("[1]", FormatError, "is no rejected row"),
            ("{", FormatError, "is no rejected row"),
            (json.dumps(_rejected({}, set()) or {"id": "x"}), FormatError, "is no rejected row"),
            (
                json.dumps({"again": True, "row": {"id": "other", "answer": "a"}}),
                ConfigError,
                "none of its 1 rows",
            ),
        ]
        for text, kind, told in rows:
            (tmp_path / "rejected.jsonl").write_text(text + "\n")
            with pytest.raises(kind, match=told):
                label(settled, clips, out, again=tmp_path / "rejected.jsonl")
        with pytest.raises(ConfigError, match="cannot be read"):
            label(settled, clips, out, again=tmp_path / "none.jsonl")
        (tmp_path / "rejected.jsonl").write_text(json.dumps({"again": False, "row": None}) + "\n")
        assert label(settled, clips, out, again=tmp_path / "rejected.jsonl").asked_again == 0


def test_every_round_has_seeds_of_its_own() -> None:
    settled = recipe("http://x", samples=3, decoding={"temperature": 1.0, "seed": 5})
    assert anew(settled, 0) is settled
    assert [anew(settled, n).decoding.seed for n in (1, 2)] == [8, 11]
