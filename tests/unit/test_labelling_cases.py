"""Statements from label files and simulated worlds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vidapt.errors import ConfigError, FormatError
from vidapt.formats import vidapt_jsonl
from vidapt.labelling.cases import Case, read_cases, samples
from vidapt.worlds import billiards, conveyor
from vidapt.worlds.known import World


def labels(folder: Path, *rows: dict[str, Any]) -> Path:
    vidapt_jsonl.tiny_data(folder)
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps({"video": "still.gif", **row}) + "\n" for row in rows))
    return path


def test_facts_and_captions_are_statements_and_questions_are_not(tmp_path: Path) -> None:
    path = labels(
        tmp_path,
        {"caption": "a red ball."},
        {"caption": "ignored", "facts": {"true": ["x"], "false": ["y", "z"], "type": "colour"}},
        {"question": "is it red?", "answer": "yes."},
        {"question": "sum up.", "answer": "a ball.", "facts": {"type": "caption"}},
        {"question": "q", "answer": "a", "facts": {"false": "only false"}},
    )
    found = read_cases(path)
    assert [(case.true, case.false, case.kind) for case in found] == [
        (("a red ball.",), (), ""),
        (("x",), ("y", "z"), "colour"),
        (("a ball.",), (), "caption"),
        ((), ("only false",), ""),
    ]


def test_false_ones_are_made_by_rule_where_there_are_none(tmp_path: Path) -> None:
    path = labels(
        tmp_path,
        {"caption": "a red ball."},
        {"caption": "x", "facts": {"true": ["a red ball."], "false": ["kept"]}},
        {"caption": "nothing to change"},
    )
    *made, kept, without = read_cases(path, by_rule=3)
    assert [(case.true, case.kind) for case in made] == [(("a red ball.",), "colour")] * 3
    assert len({case.false for case in made} | {("a red ball.",)}) == 4
    assert len({case.id for case in made}) == 3
    assert (kept.false, without.false) == (("kept",), ())
    assert [case.false for case in read_cases(path, by_rule=3, seed=1)[:3]] != [case.false for case in made]
    mine = tmp_path / "mine.yaml"
    mine.write_text("facts: {thing: [[ball, cube]]}", encoding="utf-8")
    assert read_cases(path, by_rule=3, lexicon=mine)[0].false == ("a red cube.",)


@pytest.mark.parametrize("world", [billiards, conveyor], ids=["billiards", "conveyor"])
def test_a_worlds_folder_gives_exact_statements_that_survive_a_file(tmp_path: Path, world: World) -> None:
    pool = tmp_path / "pool"
    world.simulate(pool, clips=4, seed=3, workers=1)
    cases = read_cases(pool, count=2)
    records = {f"{record.index:06d}": record for record in world.load_records(pool / "events.jsonl")}
    assert len({case.clip.id for case in cases}) >= 3
    for case in cases:
        record = records[case.clip.id]
        assert not world.judge(case.true[0], record).false
        assert len(world.judge(case.false[0], record).false) == 1
    path = pool / "statements.jsonl"
    assert vidapt_jsonl.write(path, samples(cases)) == len(cases)

    def content(case: Case) -> tuple[object, ...]:
        return case.id, case.clip.path.name, case.true, case.false, case.kind

    assert list(map(content, read_cases(path))) == list(map(content, cases))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "is it red?", "answer": "yes."}, "no statement"),
        ({"caption": "x", "facts": {"false": [3]}}, "facts.false"),
        ({"caption": "x", "facts": {"true": [" "]}}, "facts.true"),
    ],
)
def test_unsound_sets_are_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_cases(labels(tmp_path, row))


def test_statements_are_about_one_clip(tmp_path: Path) -> None:
    path = labels(tmp_path, {"caption": "x"})
    path.write_text('{"media": [{"path": "still.gif"}, {"path": "still.gif", "id": "b"}], "caption": "x"}\n')
    with pytest.raises(FormatError, match="2 clips"):
        read_cases(path)


def test_a_damaged_world_says_so(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").touch()
    with pytest.raises(ConfigError, match=r"dataset\.json"):
        read_cases(tmp_path)
    (tmp_path / "dataset.json").write_text('{"world": "billiards", "venue": "home"}')
    with pytest.raises(FormatError, match="nothing happens"):
        read_cases(tmp_path)
