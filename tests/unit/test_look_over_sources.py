"""What the page puts together: where labels come from, what models say, and files that are none of these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from clean_tools import caption, row, write_rows
from look_over_tools import labels, provenance, rejected, up
from typer.testing import CliRunner

from vidapt.captioning.rows import write_rows as write_captions
from vidapt.cli import app
from vidapt.errors import BrokenClip, FormatError, VidaptError
from vidapt.looking_over.book import open_book
from vidapt.looking_over.gather import Sources
from vidapt.looking_over.index import LOW
from vidapt.looking_over.pictures import BusyError, Pictures
from vidapt.measure.verdicts import Header, Kept, Verdict, open_ledger
from vidapt.nouns import Clip
from vidapt.video import Times

FACT = {
    "id": "f1",
    "subject": "red ball",
    "predicate": "hits",
    "object": "blue ball",
    "start_s": 0.5,
    "end_s": 1.0,
}


def test_where_labels_come_from_is_told_by_their_words(tmp_path: Path) -> None:
    """Ids that come again have a number behind them, and a label that says something else is another."""
    voices = [{"teacher": "t", "seed": 0, "text": "\ud800 half", "agreement": 0.4, "cut_off": False}]
    parts = [{"text": "Ball 0 rolls.", "facts": ["f1"], "borne_out": 0.5}]
    first = {
        "clip": "r0",
        "text": "Ball 0 rolls.",
        "frames": [0.5],
        "facts": [FACT],
        "parts": parts,
        "agreement": 0.4,
    }
    file = labels(tmp_path, 2)
    provenance(
        tmp_path,
        first | {"voices": voices, "flags": ["half \ud800"]},
        {"clip": "r1", "text": "It said that before.", "frames": [9.0]},
    )
    second = write_rows(tmp_path / "second.jsonl", [row("r0", "Another one.", start_s=1.0)])
    provenance(tmp_path, {"clip": "r0", "text": "Another one.", "frames": [0.25]}, name="second.jsonl")
    with up([file, second]) as page:
        rows = [page.get(f"api/rows/{number}").json() for number in range(3)]
        assert [one["id"] for one in rows] == ["r0", "r1", "r0#2"]
        assert [one["frames"] for one in rows] == [[0.5], [], [1.25]]
        assert rows[0]["clauses"] == [{"text": "Ball 0 rolls.", "facts": ["f1"], "borne_out": 0.5}]
        assert rows[0]["made"]["voices"][0]["text"] == "\\ud800 half"
        assert rows[0]["made"]["facts"][0]["end_s"] == 1.0
        assert page.found(flag="half \\ud800") == [0]
        assert list(page.get("api/start").json()["facets"]["flag"]) == ["half \\ud800", LOW]
        assert page.found(flag=LOW) == [0]


def test_what_models_say_stands_beside_their_clip(tmp_path: Path) -> None:
    file = labels(tmp_path, 2)
    elsewhere = caption(tmp_path / "other", "r0.mp4", "Elsewhere.")
    part = caption(tmp_path, "r0.mp4@1.0-2.0", "A part.", start_s=1.0, end_s=2.0)
    for name in ("said.jsonl", "said.parquet"):
        write_captions(tmp_path / name, [caption(tmp_path, "r0.mp4", "A ball."), elsewhere, part])
    clip = Clip("r1.mp4", tmp_path / "r1.mp4")
    verdict = Verdict(
        0, "r1", clip, "count", "how many?", "two", ("two",), False, {"model": "two", "blind": "one"}
    )
    (tmp_path / "eval").mkdir()
    with open_ledger(tmp_path / "eval", Kept(Header({}, {}), (verdict,), ())):
        pass
    for name in ("said.jsonl", "said.parquet"):
        with up([file], runs=[tmp_path / name, f"mine={tmp_path / 'eval'}"]) as page:
            said = [page.get(f"api/rows/{number}").json() for number in range(2)]
            models = page.get("api/start").json()["models"]
        assert models == ["said", "mine"]
        (first, second), others = said[0]["answers"], said[0]["predictions"]
        assert (first["text"], first["frames"], second["text"], others) == ("A ball.", [0.5, 1.5], None, [])
        first, second = said[1]["answers"]
        assert (first["text"], second["text"], second["right"]) == (None, "two", True)
        assert second["arms"] == [{"arm": "blind", "text": "one", "right": False}]
    write_captions(tmp_path / "said.jsonl", [elsewhere])
    book = open_book(Sources([file], runs=[tmp_path / "said.jsonl"]))
    assert book.notes == [f"{tmp_path / 'said.jsonl'} says nothing of these clips"]


def test_files_of_something_else_are_refused_with_their_line(tmp_path: Path) -> None:
    file = labels(tmp_path, 2)
    aside = rejected(tmp_path, ("r0", "loop", "drop", None))
    line = json.loads(aside.read_text())
    for bad in (
        "{",
        "[]",
        "3",
        '{"id": "r0"}',
        json.dumps(line | {"row": 5}),
        json.dumps(line | {"row": {"id": "r0"}}),
    ):
        write_rows(tmp_path / "bad.jsonl", [line, bad])
        with pytest.raises(FormatError, match=r"bad\.jsonl:2"):
            open_book(Sources([file], rejected=tmp_path / "bad.jsonl"))
    for more in (
        {"rejected": tmp_path / "none"},
        {"runs": [tmp_path / "none"]},
        {"runs": [write_rows(tmp_path / "notes.jsonl", ['{"note": 1}'])]},
    ):
        with pytest.raises(FormatError):
            open_book(Sources([file], **more))  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=r"no predictions\.jsonl"):
        open_book(Sources([file], runs=[tmp_path]))
    provenance(tmp_path, {"clip": "r0", "text": "Ball 0 rolls.", "frames": ["soon"]})
    with pytest.raises(FormatError, match="the row of 'r0' is none of labels"):
        open_book(Sources([file]))


def test_rows_without_an_id_are_told_and_passed_over(tmp_path: Path) -> None:
    file = labels(tmp_path, 2)
    file.write_text(file.read_text() + "{not json\n")
    unsound = {"id": None, "check": "row", "version": 1, "verdict": "drop", "reason": "?", "again": False}
    aside = write_rows(tmp_path / "r.jsonl", [unsound | {"source": "labels.jsonl:3", "row": None}])
    book = open_book(Sources([file], rejected=aside))
    assert len(book.items) == 2
    assert "rows that are no labels: 1, the first of them at" in book.notes[0]


def test_the_command_refuses_before_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = labels(tmp_path, 1)

    def run(*words: str | Path) -> str:
        done = CliRunner().invoke(app, ["review", *map(str, words)])
        assert done.exit_code == 2
        return done.stderr

    assert "there is no such file" in run(tmp_path / "none.jsonl")
    assert "name the file for decisions" in run(file, file)
    assert "is no decision" in run(file, "--decisions", file)
    assert "cannot be used" in run(file, "--host", "192.0.2.1")
    (tmp_path / "empty").mkdir()
    assert "nothing to look over; rows that are no labels: 1" in run(tmp_path / "empty")
    assert "is a folder" in run(file, "--decisions", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    assert "pip install 'vidapt[page]'" in run(file)


def test_frames_are_kept_within_bounds_and_given_up_when_too_many_wait(tmp_path: Path) -> None:
    labels(tmp_path, 1)
    clip = Clip("r0", tmp_path / "r0.mp4")
    pictures = Pictures(tmp_path / "frames", kept_bytes=4000)
    try:
        sizes = {at: len(pictures.frame(clip, Times(times=(at / 10,)), 240).result(60)) for at in range(12)}
        kept = list((tmp_path / "frames").iterdir())
        assert sum(file.stat().st_size for file in kept) <= 4000 < sum(sizes.values())
        waiting = [pictures.frame(clip, Times(times=(at / 100,)), 240) for at in range(200, 400)]
        errors = [one.exception(120) for one in waiting]
        assert {type(one) for one in errors} == {BusyError, type(None)}
        assert errors[-1] is None  # who asked last is served
        broken = pictures.frame(Clip("no", tmp_path / "no.mp4"), Times(times=(0.0,)), 240).exception(60)
        assert isinstance(broken, BrokenClip)
    finally:
        pictures.close()
    assert isinstance(pictures.frame(clip, Times(times=(0.333,)), 240).exception(5), BusyError)


def test_where_nothing_can_be_kept_frames_are_shown_all_the_same(tmp_path: Path) -> None:
    labels(tmp_path, 1)
    (tmp_path / "frames").write_text("a file")
    pictures = Pictures(tmp_path / "frames")
    try:
        data = pictures.frame(Clip("r0", tmp_path / "r0.mp4"), Times(times=(0.0,)), 240).result(60)
        assert data[:2] == b"\xff\xd8"
    finally:
        pictures.close()


def test_no_decoding_process_is_told_as_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise VidaptError("worker", "cannot be started")

    monkeypatch.setattr("vidapt.video.pool.Crew.decode", none)
    labels(tmp_path, 1)
    pictures = Pictures(tmp_path / "frames")
    try:
        clip = Clip("r0", tmp_path / "r0.mp4")
        for at in (0.0, 0.1):
            error = pictures.frame(clip, Times(times=(at,)), 240).exception(60)
            assert isinstance(error, BrokenClip)
            assert "cannot be started" in error.reason
    finally:
        pictures.close()
