"""Frozen versions: one hash for labels and the content of their media, which nothing can change unseen."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from clean_tools import row, rows_of, write_rows
from footage_tools import film
from look_over_tools import labels, rejected
from pydantic import ValidationError
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.curation.versions import check_version, freeze, parent, read_card
from vidapt.decisions import Decision, about, decided
from vidapt.errors import ConfigError
from vidapt.formats import open_samples
from vidapt.recipe import DataSource, Recipe, load_recipe, missing_files
from vidapt.training.data import read_samples


def run(*words: str | Path) -> dict[str, object]:
    done = CliRunner().invoke(app, ["data", "freeze", *map(str, words), "--json"])
    assert done.exit_code == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def decisions(file: Path, *lines: dict[str, str]) -> Path:
    return write_rows(file, list(lines))


def test_a_version_is_the_same_wherever_it_lies(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there" / "deeper"
    here.mkdir()
    labels(here, 3)
    shutil.copytree(here, there)
    first = freeze(open_samples(here / "labels.jsonl"), tmp_path / "a")
    second = freeze(open_samples(there / "labels.jsonl"), tmp_path / "b")
    assert first.version == second.version
    assert (first.rows, first.media, first.left_out) == (3, 3, 0)
    assert read_card(tmp_path / "a") == first
    turned = list(open_samples(here / "labels.jsonl"))[::-1]
    assert freeze(turned, tmp_path / "c").version != first.version
    film(there / "r1.mp4", "mp4", base=77)
    assert freeze(open_samples(there / "labels.jsonl"), tmp_path / "d").version != first.version


def test_what_was_frozen_is_told_from_what_is_there(tmp_path: Path) -> None:
    file, out = labels(tmp_path, 2), tmp_path / "v1"
    card = freeze(open_samples(file), out)
    assert check_version(out) == check_version(out / "labels.jsonl", card.version) == card.version
    assert check_version(file) is None
    with pytest.raises(ConfigError, match="is no frozen version"):
        check_version(file, card.version)
    with pytest.raises(ConfigError, match=f"is the version {card.version}, not sha256:0"):
        check_version(out, "sha256:0")

    clip = tmp_path / "r0.mp4"
    before = clip.read_bytes()
    os.utime(clip, (1, 1))
    assert check_version(out) == card.version  # touched, and the same
    clip.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(ConfigError, match="its labels or media are sha256:"):
        check_version(out)
    clip.unlink()
    with pytest.raises(ConfigError, match="not there any more"):
        check_version(out)
    clip.write_bytes(before)
    text = (out / "labels.jsonl").read_text()
    (out / "labels.jsonl").write_text(text.replace("Ball 1 rolls.", "Ball 9 rolls."))
    with pytest.raises(ConfigError, match="is not what was frozen"):
        check_version(out)
    (out / "labels.jsonl").write_text(text)
    for broken in ("{", "[]", '{"version": 3}'):
        (out / "version.json").write_text(broken)
        with pytest.raises(ConfigError, match="is no card of a version"):
            check_version(out)


def test_freezing_again_is_the_same_or_refused(tmp_path: Path) -> None:
    file, out = labels(tmp_path, 2), tmp_path / "v1"
    card = freeze(open_samples(file), out)
    again = freeze(open_samples(file), out)
    assert again == card
    fewer = list(open_samples(file))[:1]
    with pytest.raises(ConfigError, match="holds another version"):
        freeze(fewer, out)
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="is no version"):
        freeze(fewer, tmp_path / "mine")
    with pytest.raises(ConfigError, match="no row is left"):
        freeze([], tmp_path / "empty")
    assert not (tmp_path / "empty").exists()


def test_what_cannot_be_frozen_costs_its_own_row(tmp_path: Path) -> None:
    samples = list(open_samples(labels(tmp_path, 3)))
    bare = replace(samples[1], turns=())
    (tmp_path / "r2.mp4").unlink()
    card = freeze([samples[0], bare, samples[2]], tmp_path / "v")
    assert (card.rows, card.left_out, card.media) == (1, 2, 1)
    told = {one["id"]: one["reason"] for one in rows_of(tmp_path / "v" / "left_out.jsonl")}
    assert "cannot be read" in told["r2"]
    assert told["r1"]
    assert check_version(tmp_path / "v") == card.version


def test_the_command_freezes_as_was_decided(tmp_path: Path) -> None:
    file = labels(tmp_path, 4)
    now = {one.id: about(one) for one in open_samples(file)}
    made = decisions(
        tmp_path / "d.jsonl",
        {"id": "r0", "verdict": "drop", "of": now["r0"]},
        {"id": "r1", "verdict": "keep"},
        {"id": "r3", "verdict": "rewrite", "text": "Ball three rolls."},
        {"id": "r2", "verdict": "drop", "of": "0123"},  # of another text
    )
    aside = rejected(tmp_path, ("r1", "loop", "drop", None), ("r2", "broken_json", "rewrite", "Two."))
    found = run(file, "--decisions", made, "--rejected", aside, "--out", tmp_path / "v1")
    frozen = {one.id: one.answer for one in open_samples(tmp_path / "v1")}
    assert frozen == {"r1": "Ball 1 rolls.", "r2": "Two.", "r3": "Ball three rolls."}
    assert found["counts"] == {
        "dropped by person": 1,
        "kept": 1,
        "rewritten by checks": 1,
        "rewritten by person": 1,
    }
    named = [Path(str(one["path"])).name for one in found["parents"]]  # type: ignore[attr-defined]
    assert named == ["labels.jsonl", "d.jsonl", "clean.rejected.jsonl"]

    second = run(tmp_path / "v1", "--out", tmp_path / "v2")
    assert second["version"] == found["version"]
    assert parent(tmp_path / "v1")["version"] == found["version"]
    done = CliRunner().invoke(app, ["data", "freeze", str(file), "--decisions", str(file), "--out", "x"])
    assert (done.exit_code, "is no decision" in done.stderr) == (2, True)
    other = decisions(tmp_path / "e.jsonl", {"id": "z", "verdict": "drop"})
    done = CliRunner().invoke(app, ["data", "freeze", str(file), "--decisions", str(other), "--out", "x"])
    assert "none of its 1 decisions" in done.stderr


def test_a_recipe_names_a_version_or_decisions(tmp_path: Path) -> None:
    file = labels(tmp_path, 3)
    card = freeze(open_samples(file), tmp_path / "v1")
    made = decisions(
        tmp_path / "d.jsonl",
        {"id": "r0", "verdict": "drop"},
        {"id": "r1", "verdict": "rewrite", "text": "Ball one rolls."},
    )
    frozen = DataSource(path=tmp_path / "v1", version=card.version)
    assert [one.answer for one in read_samples([frozen])] == [f"Ball {n} rolls." for n in range(3)]
    as_decided = DataSource(path=file, decisions=made)
    assert [one.answer for one in read_samples([as_decided])] == ["Ball one rolls.", "Ball 2 rolls."]

    with pytest.raises(ConfigError, match="is the version"):
        read_samples([DataSource(path=tmp_path / "v1", version=f"sha256:{'0' * 64}")])
    other = decisions(tmp_path / "e.jsonl", {"id": "z", "verdict": "drop"})
    with pytest.raises(ConfigError, match="none of its 1 decisions"):
        read_samples([DataSource(path=file, decisions=other)])
    film(tmp_path / "r2.mp4", "mp4", base=99)
    with pytest.raises(ConfigError, match="is not what was frozen"):
        read_samples([DataSource(path=tmp_path / "v1")])  # also where nobody states the hash
    for wrong in ({"version": "v1"}, {"decisions": "d.jsonl", "read": "rows"}):
        with pytest.raises(ValidationError):
            DataSource.model_validate({"path": "labels.jsonl", **wrong})


def test_an_edited_answer_is_the_one_that_counts_as_right(tmp_path: Path) -> None:
    rows = [row("r0", "nine", facts={"type": "count", "accept": ["nine", "9"]}), row("r1", "It rolls.")]
    file = write_rows(tmp_path / "labels.jsonl", rows)
    first, second = open_samples(file, check_files=False)
    for sample, accept in ((first, ["four"]), (second, None)):
        now = decided(sample, Decision(id=sample.id, verdict="rewrite", text="four"))
        assert now is not None
        assert (now.answer, now.facts.get("accept")) == ("four", accept)
        assert decided(sample, Decision(id=sample.id, verdict="keep")) is sample
        assert decided(sample, Decision(id=sample.id, verdict="drop")) is None


def test_decisions_are_looked_for_beside_the_recipe(tmp_path: Path) -> None:
    write_rows(tmp_path / "labels.jsonl", [row("r0", "It rolls.")])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: run\nstart: billiards-home\nstages:\n  - name: a\n    steps: 1\n"
        "    data: [{path: labels.jsonl, decisions: mine/d.jsonl}]\n"
    )
    read: Recipe = load_recipe(recipe)
    assert read.stages[0].data[0].decisions == tmp_path / "mine" / "d.jsonl"
    assert missing_files(read) == [tmp_path / "mine" / "d.jsonl"]
