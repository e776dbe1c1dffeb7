"""Labels read row by row: the same steps and weights as those read whole, and what is told of bad rows."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from stream_tools import Seen, as_form, as_shard, rows_of
from training_tools import assert_equal, recipe, silent, stage, trained, weights, write_clips

from vidapt.errors import ConfigError, FormatError
from vidapt.planning.plan import Means, plan_recipe
from vidapt.training.outlook import outlook
from vidapt.training.run import train


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


def source(path: Path, read: str, **more: Any) -> list[dict[str, Any]]:
    return [{"path": str(path), "read": read, **more}]


def run_of(path: Path, read: str, runs: Path, keep: str = "auto", **more: Any) -> dict[str, Any]:
    filters = more.pop("filters", {})
    plan = recipe(stage(path, data=source(path, read, **filters), steps=6, cache={"keep": keep}, **more))
    return trained(plan, runs)


@pytest.mark.parametrize("keep", ["features", "nothing"])
def test_both_ways_of_reading_see_the_same_and_learn_the_same(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    whole = Seen(monkeypatch)
    expected = run_of(labels, "whole", tmp_path / "whole", keep)
    rows = Seen(monkeypatch)
    found = run_of(labels, "rows", tmp_path / "rows", keep)
    assert rows.steps == whole.steps[: len(rows.steps)]
    assert len(rows.steps) == 6
    assert_equal(found, expected)


@pytest.mark.parametrize("form", ["jsonl.gz", "json", "parquet"])
def test_every_form_of_a_file_is_the_same(labels: Path, tmp_path: Path, form: str) -> None:
    expected = run_of(labels, "whole", tmp_path / "whole")
    assert_equal(run_of(as_form(labels, form), "rows", tmp_path / "rows"), expected)
    assert_equal(run_of(as_form(labels, form), "whole", tmp_path / "again"), expected)


def test_filters_are_the_same(labels: Path, tmp_path: Path) -> None:
    rows = [{**row, "facts": {"type": "ab"[at % 2]}} for at, row in enumerate(rows_of(labels))]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    filters = {"skip": 1, "limit": 2, "types": ["b"]}
    expected = run_of(labels, "whole", tmp_path / "whole", filters=filters)
    assert_equal(run_of(labels, "rows", tmp_path / "rows", filters=filters), expected)


def test_conversations_are_taken_apart_in_both_ways(labels: Path, tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<video>\nwhat?"}, {"from": "gpt", "value": "red"}]
    more = [{"from": "human", "value": "and now?"}, {"from": "gpt", "value": "blue"}]
    greeting = [{"from": "human", "value": "hi?"}, {"from": "gpt", "value": "ho"}]
    system = [{"from": "system", "value": "look well."}]
    path = labels.with_name("talk.json")
    path.write_text(
        json.dumps(
            [
                {"id": "0", "video": "0.mp4", "conversations": turns + more},
                {"id": "1", "video": "1.mp4", "conversations": system + turns},
                {"id": "2", "video": "0.mp4", "conversations": turns},
                {"id": "3", "conversations": greeting},
            ]
        )
    )
    for apart in (False, True):
        batching = {"clips": 2, "apart": apart}
        expected = run_of(path, "whole", tmp_path / f"whole{apart}", batching=batching)
        assert_equal(run_of(path, "rows", tmp_path / f"rows{apart}", batching=batching), expected)


def test_shards_are_read_by_a_pattern_and_unpacked_clip_by_clip(labels: Path, tmp_path: Path) -> None:
    as_shard(labels, "part-1.tar")
    as_shard(labels, "part-2.tar")
    plan = recipe(stage(labels, data=str(labels.with_name("part-*.tar")), steps=1, batching={"clips": 3}))
    trained(plan, tmp_path)
    unpacked = list((labels.parent / ".vidapt").rglob("*.mp4"))
    assert 1 <= len(unpacked) <= 3
    card = json.loads(next((tmp_path / "run").glob("*-a/model/card.json")).read_text())
    assert (card["clips"], card["samples"]) == (24, 24)


def test_a_run_that_was_stopped_goes_on_as_if_it_was_not(labels: Path, tmp_path: Path) -> None:
    plan = recipe(stage(labels, data=source(labels, "rows"), steps=6, save_every=2))
    expected = trained(plan, tmp_path / "whole")

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("a", 3):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(plan, tmp_path / "cut", report, workers=0)
    train(plan, tmp_path / "cut", silent, workers=0, resume=True)
    assert_equal(weights(tmp_path / "cut" / "run"), expected)


def test_a_bad_row_costs_that_row_and_is_written_down(labels: Path, tmp_path: Path) -> None:
    rows = rows_of(labels)
    rows[1]["answer"] = "and on and on " * 20
    rows[4]["video"] = "gone.mp4"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_of(labels, "rows", tmp_path, batching={"clips": 5, "max_answer_tokens": 30})
    lines = (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines()
    told = {row["label"]: row["reason"] for row in map(json.loads, lines)}
    assert told.keys() == {f"{labels}:2", f"{labels}:5"}
    assert "tokens, the limit is 30" in told[f"{labels}:2"]
    assert "there is no file" in told[f"{labels}:5"]


def test_what_an_index_sees_is_refused_with_all_its_lines(labels: Path, tmp_path: Path) -> None:
    lines = labels.read_text().splitlines()
    lines[2], lines[5] = '{"video": "0.mp4", "question": 3, "answer": "x"}', "{"
    labels.write_text("\n".join(lines) + "\n")
    with pytest.raises(FormatError) as caught:
        run_of(labels, "rows", tmp_path)
    said = str(caught.value)
    assert f"{labels}:3: 'question' is 3, not text; 1 more rows are unsound" in said
    assert f"{labels}:6: broken JSON" in said


def test_a_repeated_id_is_refused_with_both_lines(labels: Path, tmp_path: Path) -> None:
    rows = [{**row, "id": str(at % 10)} for at, row in enumerate(rows_of(labels))]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(FormatError, match=r"labels.jsonl:11: the id '0' is already that of .*labels.jsonl:1"):
        run_of(labels, "rows", tmp_path)


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "parquet", "tar"])
@pytest.mark.parametrize("read", ["rows", "whole"])
def test_a_file_cut_in_the_middle_is_named(labels: Path, tmp_path: Path, form: str, read: str) -> None:
    path = as_shard(labels) if form == "tar" else as_form(labels, form)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3 - 5])
    with pytest.raises(FormatError, match=r"again\.|shard\.tar") as caught:
        run_of(path, read, tmp_path)
    assert "cut off" in str(caught.value) or "decompressed" in str(caught.value)


def test_a_changed_clip_is_named_when_a_step_comes_to_it_again(labels: Path, tmp_path: Path) -> None:
    keep = {"keep": "nothing"}
    plan = recipe(stage(labels, data=source(labels, "rows"), steps=6, save_every=2, cache=keep))

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("a", 3):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(plan, tmp_path, report, workers=0)
    clip = labels.with_name("2.mp4")
    os.utime(clip, (0, 0))  # another time alone is no other content
    clip.with_name("3.mp4").write_bytes(clip.read_bytes())
    with pytest.raises(ConfigError, match=r"a clip has changed since it began: 3.mp4"):
        train(plan, tmp_path, silent, workers=0, resume=True)


def test_changed_labels_are_refused_and_indexed_anew(labels: Path, tmp_path: Path) -> None:
    run_of(labels, "rows", tmp_path)
    labels.write_text(labels.read_text().replace("it is 1.", "it is 9."))
    plan = recipe(stage(labels, data=source(labels, "rows"), steps=6, cache={"keep": "auto"}))
    with pytest.raises(ConfigError, match="its labels, or clips they name, have changed"):
        train(plan, tmp_path, silent, workers=0, resume=True)


def test_a_plan_of_rows_is_that_of_labels_read_whole_and_leaves_nothing_behind(
    labels: Path, tmp_path: Path
) -> None:
    plans = []
    for read in ("whole", "rows"):
        plan = recipe(stage(labels, data=source(labels, read), steps=None, epochs=2.0))
        plans.append(plan_recipe(outlook(plan, silent), Means("h100")).stages[0])
    whole, rows = plans
    told = ("clips", "samples", "steps", "flops", "memory")
    assert [getattr(rows, name) for name in told] == [getattr(whole, name) for name in told]
    assert rows.tokens.total == whole.tokens.total
    assert (whole.tokens.exact, rows.tokens.exact) == (True, False)
    assert {path.name for path in tmp_path.rglob("*.jsonl")} == {"labels.jsonl"}
    assert not list(tmp_path.rglob("footage-*"))
