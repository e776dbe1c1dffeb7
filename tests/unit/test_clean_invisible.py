"""Labels of what a tower does not hold are set aside, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clean_tools import judge, row, run, sample, write_rows

from vidapt.cleaning.labels import Label, Origin
from vidapt.errors import ConfigError


def a_type(
    name: str, verdict: str, visibility: float, *wordings: str, kind: str = "question"
) -> dict[str, Any]:
    known = {"chosen": {"visibility": {"value": visibility, "low": 0, "high": 1}, "accuracy": {}}}
    places = {"tower": known, "connector": {"chosen": {"visibility": None}}}
    return {"name": name, "kind": kind, "verdict": verdict, "wordings": wordings, "places": places, "n": 9}


TYPES = [
    a_type("colour", "unseen", 0.1, "which colour is it"),
    a_type("number", "unseen", 0.3, "how many are there"),
    a_type("shape", "told", 0.9, "which shape has it"),
    a_type("room …", "unseen", -0.2, kind="stated"),
]


@pytest.fixture
def probe(tmp_path: Path) -> Path:
    path = tmp_path / "probe.json"
    path.write_text(json.dumps({"model": "any", "types": TYPES}))
    return path


def test_rows_go_by_their_type_or_else_by_their_words(probe: Path) -> None:
    labels = [
        Label(sample("a", "red", "what colour has the ball?", type="colour"), 1),
        Label(sample("b", "red", "Which colour is it?"), 1),
        Label(sample("c", "round", "Which shape has it?"), 1),
        Label(sample("d", "three", "how many are there?"), 1),
        Label(sample("e", "red", "which colour is it?", type="shape"), 1),
        Label(sample("f", "a red ball rolls."), 1),
    ]
    found = judge("invisible", labels, probe=probe)
    assert [verdict.outcome for verdict in found] == ["drop", "drop", "keep", "keep", "keep", "keep"]
    assert found[0].reason == "the tower does not hold 'colour': visibility 0.10"
    assert not found[0].again, "no teacher can do better"
    assert [one.outcome for one in judge("invisible", labels, probe=probe, below=0.35)][3] == "drop"


def test_clauses_go_that_tell_nothing_else(probe: Path) -> None:
    texts = ("A ball rolls", "through the room,", "and it is round.")
    types = (("ball rolls …",), ("room …",), ("room …", "ball is …"))
    told = Label(sample("a", " ".join(texts)), 1, Origin(clauses=tuple(zip(texts, types, strict=True))))
    changed = Label(sample("b", "Other words."), 1, told.origin)
    alone = Label(sample("c", texts[1]), 1, Origin(clauses=((texts[1], types[1]),)))
    none = Label(sample("d", texts[0]), 1, Origin(clauses=((texts[0], ()),)))
    found = judge("invisible", [told, changed, alone, none], probe=probe)
    assert [verdict.outcome for verdict in found] == ["rewrite", "keep", "drop", "keep"]
    assert found[0].text == "A ball rolls and it is round."
    assert found[0].reason.startswith("1 of 3 clauses: the tower does not hold 'room …'")


def test_it_is_asked_where_settings_name_a_file(probe: Path, tmp_path: Path) -> None:
    rows = [row("a", "red", "which colour is it?"), row("b", "round", "which shape has it?")]
    labels = write_rows(tmp_path / "labels.jsonl", rows)
    cleaned = run(labels, tmp_path / "clean.jsonl", f"checks.invisible.probe={probe}")
    assert [fate.sample.id for fate in cleaned.fates] == ["a"]
    assert cleaned.summary.checks["invisible"].dropped == 1
    before = cleaned.summary.settings
    probe.write_text(json.dumps({"types": TYPES[1:]}))
    cleaned = run(labels, tmp_path / "clean.jsonl", f"checks.invisible.probe={probe}")
    assert (cleaned.summary.kept, cleaned.summary.settings != before) == (2, True)
    with pytest.raises(ConfigError, match=r"checks\.invisible\.probe"):
        run(labels, tmp_path / "other.jsonl", only=["invisible"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("{", "is no result"),
        ("[" * 100_000, "is no result"),
        ('{"types": [{}]}', "is no result"),
        (json.dumps({"types": [a_type("colour", "unseen", float("nan"))]}), "is no result"),
    ],
)
def test_what_is_no_result_of_probes_is_refused(text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        judge("invisible", [], probe=path)
