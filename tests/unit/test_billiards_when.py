"""The simulated world asks when balls were pocketed, if it is told to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vidapt.errors import ConfigError
from vidapt.metrics.spans import only_stretch
from vidapt.worlds.billiards import load_records, simulate
from vidapt.worlds.billiards.events import Event, Record
from vidapt.worlds.billiards.styles import STYLES
from vidapt.worlds.billiards.times import rolls


def record(*events: tuple[float, str, str, str]) -> Record:
    told: list[Any] = [Event(*event) for event in events]  # type: ignore[arg-type]
    return Record(0, "home", "pot", ("red", "blue"), ("red", "blue", "green"), "grey", tuple(told))


def test_a_ball_rolls_from_its_last_meeting_to_its_pocket() -> None:
    played = record(
        (0.5, "hit", "white", "red"),
        (1.0, "hit", "red", "blue"),
        (1.2, "cushion", "red", "left"),
        (1.5, "pocket", "blue", "top left"),
        (2.0, "pocket", "white", "top left"),
        (2.5, "pocket", "red", "top right"),
    )
    assert rolls(played) == {"blue": (1.0, 1.5), "red": (1.0, 2.5)}


def labels(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("venue", ["home", "club", "hall"])
def test_they_are_further_questions_and_change_no_other(tmp_path: Path, venue: str) -> None:
    simulate(tmp_path / "with", clips=12, venue=venue, when=True, workers=1)
    simulate(tmp_path / "without", clips=12, venue=venue, workers=1)
    found = labels(tmp_path / "with")
    when = [row for row in found if row["facts"]["type"] == "when"]
    assert [row for row in found if row not in when] == labels(tmp_path / "without")
    log = {f"{one.index:06d}": one for one in load_records(tmp_path / "with" / "events.jsonl")}
    assert len(when) == sum(len(one.pocketed) for one in log.values()) > 3
    wordings = STYLES[venue_style(tmp_path)].questions["when"]
    forms = {text.format(c=ball) for text in wordings for ball in balls(log)}
    for row in when:
        stretch = only_stretch(row["answer"])
        assert stretch is not None
        events = log[row["id"][:6]].events
        ball = next(ball for ball in balls(log) if f" {ball} " in row["question"])
        fell = next(event.time_s for event in events if event.kind == "pocket" and event.ball == ball)
        assert stretch[1] == pytest.approx(fell, abs=0.051)
        assert row["question"] in forms


def venue_style(folder: Path) -> str:
    about = json.loads((folder / "with" / "dataset.json").read_text())
    return str(about["style"])


def balls(log: dict[str, Record]) -> tuple[str, ...]:
    return next(iter(log.values())).ball_set


def test_a_set_without_them_is_another_set(tmp_path: Path) -> None:
    simulate(tmp_path, clips=1, workers=1)
    with pytest.raises(ConfigError, match="differs in: when"):
        simulate(tmp_path, clips=2, when=True, workers=1)
    about = json.loads((tmp_path / "dataset.json").read_text())
    del about["when"]  # as earlier versions wrote it
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    simulate(tmp_path, clips=2, workers=1)
