"""One file of captions: what is in it, what stands beside it, and what is not replaced unasked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from store_tools import CLIPS, counts, run, write, write_clips

from _stub_engine import StubEngine
from vidapt.captioning.rows import read_rows
from vidapt.captioning.store import outputs
from vidapt.captioning.store.stores import jobs_of
from vidapt.errors import ConfigError


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


@pytest.fixture(params=["captions.jsonl", "captions.parquet"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


def state(out: Path) -> Path:
    return out.with_name(f".{out.name}.vidapt")


def quarantine(out: Path) -> Path:
    return out.with_name(f"{out.name}.quarantine.jsonl")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_file_has_what_is_captioned_and_the_rest_is_told_beside_it(
    clips: Path, out: Path, tmp_path: Path
) -> None:
    write(clips / "10 empty.mp4", b"")
    done = run(clips, out, outputs=[tmp_path / "all.jsonl"])
    assert counts(done) == (CLIPS, 0, 1, 0)
    assert (done.out, done.outputs, done.quarantine) == (out, [out, tmp_path / "all.jsonl"], quarantine(out))
    every = lines(tmp_path / "all.jsonl")
    found = lines(out) if out.suffix == ".jsonl" else pq.read_table(out).to_pylist()
    assert found == [row for row in every if row["status"] == "done"]
    assert len(every) == CLIPS + 1
    (lost,) = lines(quarantine(out))
    assert (lost["clip"], lost["error"]) == ("10 empty.mp4", "BrokenClip")
    assert "zero bytes" in lost["reason"]
    write(clips / "10 empty.mp4", b"mended")
    assert counts(run(clips, out)) == (1, CLIPS, 0, 0)
    assert not quarantine(out).exists()
    assert json.loads(json.dumps(done.to_dict()))["quarantine"] == str(quarantine(out))
    assert {row.footage().read_bytes()[:4] for row in read_rows(out)} == {b"clip", b"mend"}


def test_nothing_but_hidden_folders_stands_beside_it_and_no_input_is_found_there(tmp_path: Path) -> None:
    clips = write_clips(tmp_path / "clips")
    run(clips, clips / "captions.jsonl")
    beside = {path.name for path in clips.iterdir() if path.suffix != ".mp4"}
    assert beside == {"inside", "notes.md", "captions.jsonl", ".captions.jsonl.vidapt"}
    assert run(clips, clips / "captions.jsonl").inputs == CLIPS


def test_another_question_is_refused_and_what_is_replaced_is_kept(clips: Path, out: Path) -> None:
    engine = StubEngine()
    run(clips, out, engine)
    before = out.read_bytes()
    with pytest.raises(
        ConfigError, match=r"holds other captions: by stub stub, asked 'describe the video\.'"
    ):
        run(clips, out, engine, prompts=["what?"])
    with pytest.raises(ConfigError, match="or of other clips"):
        run(clips / "inside", out, engine)
    assert (out.read_bytes(), engine.asked) == (before, CLIPS)
    run(clips, out, engine, prompts=["what?"], overwrite=True)
    assert {row.prompt for row in read_rows(out)} == {"what?"}
    run(clips, out, engine, overwrite=True)
    assert (out.read_bytes(), engine.asked) == (before, 2 * CLIPS)
    assert counts(run(clips, out, engine)) == (0, CLIPS, 0, 0)


@pytest.mark.parametrize("changed", [False, True])
def test_what_somebody_else_wrote_or_changed_is_not_replaced_unasked(
    changed: bool, clips: Path, out: Path
) -> None:
    if changed:
        run(clips, out)
    out.write_text("by hand\n")
    match = "was changed since" if changed else "is there already"
    with pytest.raises(ConfigError, match=match):
        run(clips, out)
    assert out.read_text() == "by hand\n"
    run(clips, out, overwrite=True)
    assert len(read_rows(out)) == CLIPS


@pytest.mark.parametrize("step", ["write_file", "write_lines", "remove_earlier"])
def test_killed_as_the_file_is_put_in_place_the_next_one_ends_it(
    step: str, clips: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(clips / "10 empty.mp4", b"")
    run(clips, out)
    whole, asked = out.read_bytes(), StubEngine()
    out.unlink()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, step, killed)
    try:
        run(clips, out)
    except KeyboardInterrupt:
        monkeypatch.undo()
        assert run(clips, out, asked).left == 0
    assert (asked.asked, out.read_bytes()) == (0, whole)
    assert len(lines(quarantine(out))) == 1


def test_a_file_that_was_put_in_place_but_not_noted_is_known(
    clips: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vidapt.captioning.store.single._state", killed)
    with pytest.raises(KeyboardInterrupt):
        run(clips, out)
    monkeypatch.undo()
    assert out.exists()
    assert counts(run(clips, out)) == (0, CLIPS, 0, 0)
    with pytest.raises(ConfigError, match="holds other captions"):
        run(clips, out, prompts=["what?"])


def test_a_link_and_the_file_it_leads_to_are_one_job(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    assert run(clips, tmp_path / "link.jsonl").out == tmp_path / "real.jsonl"
    assert (tmp_path / "link.jsonl").is_symlink()
    assert counts(run(clips, tmp_path / "real.jsonl")) == (0, CLIPS, 0, 0)
    assert len(jobs_of(state(tmp_path / "real.jsonl"))) == 1


def test_processes_meet_in_one_file(clips: Path, out: Path) -> None:
    assert run(clips, out, part=(1, 2)).left > 0
    assert not out.exists()
    assert run(clips, out, part=(2, 2)).outputs == [out]
    assert len(read_rows(out)) == CLIPS


def test_clips_of_one_name_are_told_apart(tmp_path: Path, out: Path) -> None:
    days = [write(tmp_path / day / "cam.mp4", day.encode()).parent for day in ("monday", "tuesday")]
    run(days, out)
    rows = read_rows(out)
    assert [row.clip for row in rows] == ["cam.mp4", "cam.mp4#2"]
    assert [row.footage() for row in rows] == [day / "cam.mp4" for day in days]
    moved = days[0].rename(tmp_path / "moved")
    engine = StubEngine()
    run([moved, days[1]], out, engine, overwrite=True)
    assert engine.asked == 0, "a folder that was moved is known by its clips"


@pytest.mark.parametrize("what", ["captions.jsonl", "captions.jsonl.quarantine.jsonl"])
def test_what_cannot_be_written_is_told_before_work(what: str, clips: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / what)
    with pytest.raises(ConfigError, match="is a pipe"):
        run(clips, tmp_path / "captions.jsonl")
    assert not state(tmp_path / "captions.jsonl").exists()


def test_a_folder_is_not_overwritten(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--overwrite"):
        run(clips, tmp_path / "store", overwrite=True)
    with pytest.raises(ConfigError, match="written in any case"):
        run(clips, tmp_path / "a.jsonl", outputs=[tmp_path / "a.jsonl"])


def test_a_quarantine_that_somebody_else_wrote_is_not_replaced(clips: Path, tmp_path: Path) -> None:
    other = tmp_path / "captions.jsonl.quarantine.jsonl"
    other.write_text("mine")
    with pytest.raises(ConfigError, match="is there already"):
        run(clips, tmp_path / "captions.jsonl")
    assert other.read_text() == "mine"
    run(clips, tmp_path / "captions.jsonl", overwrite=True)
    assert not other.exists()


@pytest.mark.parametrize("name", ["n" * 190 + ".jsonl", "caf\udce9.jsonl"])
def test_names_that_would_fail_in_the_end_are_refused_at_the_start(
    name: str, clips: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="its name"):
        run(clips, tmp_path / name)
    assert list(tmp_path.iterdir()) == [clips]
