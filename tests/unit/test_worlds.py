"""What all worlds share: a data set says which world it is of, and that world judges, labels and films it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError, FormatError
from vidapt.formats import open_samples
from vidapt.measure.judging import marked, world_judge
from vidapt.nouns import Clip
from vidapt.worlds import billiards, conveyor
from vidapt.worlds.conveyor.dataset import simulate
from vidapt.worlds.known import find_world, world_names, world_of

CLIPS, SEED, VENUE = 4, 12, "depot"


def content(out: Path) -> dict[str, bytes]:
    """Every file, hidden ones too, by its path in the folder."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the conveyor that nothing disturbed."""
    out = tmp_path_factory.mktemp("world") / "pool"
    simulate(out, clips=CLIPS, venue=VENUE, seed=SEED, workers=1)
    return out


def test_worlds_are_found_by_name() -> None:
    assert {"billiards", "conveyor"} <= set(world_names())
    assert find_world("conveyor") is conveyor
    assert find_world("billiards") is billiards
    with pytest.raises(ConfigError, match=r"'conveyer'(.|\n)*did you mean 'conveyor'"):
        find_world("conveyer")


def test_a_folder_says_which_world_it_is_of(whole: Path, tmp_path: Path) -> None:
    assert world_of(whole) is conveyor
    assert world_of(tmp_path) is None
    (tmp_path / "events.jsonl").touch()
    for text in ('{"world": "chess"}', "[]", '{"world": 3}', "{}"):
        (tmp_path / "dataset.json").write_text(text)
        assert world_of(tmp_path) is None
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(FormatError, match=r"dataset\.json: is not JSON"):
        world_judge(tmp_path)


def test_the_judge_of_a_folder_counts_claims_by_its_own_world(whole: Path) -> None:
    judge = world_judge(whole)
    assert judge is not None
    record = conveyor.load_records(whole / "events.jsonl")[2]
    clip = Clip("2", whole / "clips" / "000002.mp4")
    part = record.parts[0]
    style = conveyor.STYLES[VENUE]
    size = {"large": "small", "small": "large"}[part.size]
    text = f"{style.sentence('size', part.name, part.size)}. {style.sentence('size', part.name, size)}. so."
    counts = judge(clip, text)
    assert (counts.supported, counts.contradicted, counts.unparsed, counts.recalled) == (1, 1, 1, 0)
    assert counts.salient > 0
    assert [mark for _, mark in marked(judge, clip, text)] == ["true", "false", "unread"]
    with pytest.raises(FormatError, match=r"no events of the clip 000009\.mp4"):
        judge(Clip("9", whole / "clips" / "000009.mp4"), text)


def test_labels_are_read_by_the_package_and_the_captions_are_true(whole: Path) -> None:
    judge = world_judge(whole)
    assert judge is not None
    samples = list(open_samples(whole / "labels.jsonl"))
    assert len({sample.media[0].path for sample in samples}) == CLIPS
    told = [sample for sample in samples if sample.facts["type"] in ("caption", "trajectory")]
    assert len(told) == 2 * CLIPS
    for sample in told:
        counts = judge(sample.media[0], sample.answer)
        assert counts.supported > 0
        assert (counts.contradicted, counts.unparsed) == (0, 0)
        if sample.facts["type"] == "trajectory":
            assert counts.recalled == counts.salient


def test_a_data_set_is_the_same_however_it_was_made(whole: Path, tmp_path: Path) -> None:
    simulate(tmp_path / "two", clips=CLIPS, venue=VENUE, seed=SEED, workers=2)
    assert content(tmp_path / "two") == content(whole)
    simulate(tmp_path / "longer", clips=1, venue=VENUE, seed=SEED, workers=1)
    (tmp_path / "longer" / "clips" / "000000.mp4").unlink()
    simulate(tmp_path / "longer", clips=CLIPS, venue=VENUE, seed=SEED, workers=1)
    assert content(tmp_path / "longer") == content(whole)
    assert len(load_file(whole / "truth.safetensors")["tracks"]) == CLIPS


DIE = """
import os, signal, sys
from pathlib import Path
from vidapt.worlds.conveyor import simulate
moves, replace = int(sys.argv[2]), os.replace
def die(*paths):
    global moves
    if not moves:
        os.kill(os.getpid(), signal.SIGKILL)
    moves -= 1
    return replace(*paths)
os.replace = die
simulate(Path(sys.argv[1]), clips=4, venue="depot", seed=12, workers=1)
"""


@pytest.mark.parametrize("moves", [2, 6], ids=["among the clips", "among the labels"])
def test_a_run_that_is_killed_goes_on_to_the_same_result(whole: Path, tmp_path: Path, moves: int) -> None:
    out = tmp_path / "pool"
    killed = subprocess.run([sys.executable, "-c", DIE, str(out), str(moves)], timeout=120, check=False)
    assert killed.returncode < 0
    assert content(out) != content(whole)
    simulate(out, clips=CLIPS, venue=VENUE, seed=SEED, workers=1)
    assert content(out) == content(whole)


def test_a_folder_of_another_world_or_venue_is_refused_and_left_alone(whole: Path) -> None:
    before = content(whole)
    with pytest.raises(ConfigError, match="differs in: world"):
        billiards.simulate(whole, clips=CLIPS, venue="hall", seed=SEED, workers=1)
    with pytest.raises(ConfigError, match="differs in: venue"):
        simulate(whole, clips=CLIPS, venue="works", seed=SEED, workers=1)
    assert content(whole) == before


def test_the_command_writes_the_same_and_refuses_in_words(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "pool"
    words = ["simulate", "conveyor", "--clips", CLIPS, "--seed", SEED, "--workers", 1]
    run = CliRunner().invoke(app, [*map(str, words), "--venue", VENUE, "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert run.stdout.strip().splitlines()[-1] == str(out / "labels.jsonl")
    assert content(out) == content(whole)
    run = CliRunner().invoke(app, [*map(str, words), "--venue", "depo", "--out", str(tmp_path / "new")])
    assert run.exit_code == 2
    assert "did you mean 'depot'?" in run.stderr
    assert not (tmp_path / "new").exists()


def test_when_is_asked_if_wanted(tmp_path: Path) -> None:
    simulate(tmp_path, clips=6, seed=1, when=True, workers=1)
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    asked = [row for row in rows if row["facts"]["type"] == "when"]
    assert asked
    for row in asked:
        begin, end = map(float, row["answer"].split("–"))
        assert 0 <= begin < end < 4
