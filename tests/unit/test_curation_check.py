"""`vidapt data check`: every bad row with its line, doubles, what leaks, what a blind model would score."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
from curation_tools import film, row, write
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.curation import check
from vidapt.curation.texts import blind_scores
from vidapt.errors import VidaptError
from vidapt.formats import open_samples


def found(kind: str, *files: Path, **options: object) -> list[tuple[str, str]]:
    report = check(files, workers=0, **options)  # type: ignore[arg-type]
    return [(one.where, one.found) for one in report.findings if one.kind == kind]


def test_every_bad_row_is_told_with_its_line_and_sound_ones_count(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1)
    rows = [
        row("a.mp4"),
        "{",
        row("a.mp4", "how?", ""),
        "[1]",
        row("a.mp4", "who?", id="x"),
        row("a.mp4", "where?", id="x"),
    ]
    labels = write(tmp_path / "l.jsonl", rows)
    told = found("row", labels)
    assert [where for where, _ in told] == [f"{labels}:{line}" for line in (2, 3, 4, 6)]
    assert "broken JSON" in told[0][1]
    assert "'answer' is empty" in told[1][1]
    assert told[3][1] == f"the id 'x' is already that of {labels}:5"
    packed = labels.with_name("l.jsonl.gz")
    packed.write_bytes(gzip.compress(labels.read_bytes()))
    assert [where for where, _ in found("row", packed)] == [f"{packed}:{line}" for line in (2, 3, 4, 6)]
    assert check([labels], workers=0).rows == 6


def test_a_row_of_megabytes_costs_that_row_alone(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1)
    labels = write(tmp_path / "l.jsonl", [row("a.mp4"), '"' + "x" * (9 << 20) + '"', row("a.mp4", "who?")])
    ((where, said),) = found("row", labels)
    assert where == f"{labels}:2"
    assert "a row of more than" in said


def test_missing_and_broken_clips_are_named_by_their_first_rows(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1)
    (tmp_path / "b.mp4").write_bytes(b"no film")
    labels = write(
        tmp_path / "l.jsonl", [row("a.mp4"), row("b.mp4"), row("gone.mp4"), row("gone.mp4", "who?")]
    )
    assert found("missing", labels) == [(f"{labels}:3", f"there is no file {tmp_path / 'gone.mp4'}")]
    assert found("unreadable", labels) == []
    ((where, said),) = found("unreadable", labels, decode=True)
    assert where == f"{labels}:2"
    assert "b.mp4 cannot be used" in said


def test_rows_that_say_the_same_are_told(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1)
    film(tmp_path / "b.mp4", 2)
    asked = "which of the two balls hits the red one first?"
    rows = [
        row("a.mp4", asked, "blue"),
        row("a.mp4", asked.upper(), "Blue."),
        row("a.mp4", asked, "green"),
        row("a.mp4", "which of the two balls hits the red one first now?", "blue"),
        row("b.mp4", asked, "blue"),
        row("a.mp4", "what is ball 1?", "blue"),
        row("a.mp4", "what is ball 2?", "blue"),
    ]
    labels = write(tmp_path / "l.jsonl", rows)
    assert [where for where, _ in found("duplicate", labels)] == [f"{labels}:2"]
    assert [where for where, _ in found("contradiction", labels)] == [f"{labels}:3"]
    assert [where for where, _ in found("alike", labels)] == [f"{labels}:4"]


def test_what_leaks_between_splits_is_an_error(tmp_path: Path) -> None:
    for number in range(3):
        film(tmp_path / f"{number}.mp4", number)
    shutil.copy(tmp_path / "0.mp4", tmp_path / "copy.mp4")
    film(tmp_path / "again.mp4", 1, noise=4, shift=9)
    train = write(tmp_path / "train.jsonl", [row("0.mp4"), row("1.mp4", end_s=1.0)])
    test = write(
        tmp_path / "test.jsonl", [row("copy.mp4"), row("1.mp4", start_s=1.0), row("again.mp4"), row("2.mp4")]
    )
    leaks = dict(found("leak", train, test))
    assert leaks.keys() == {f"{test}:1", f"{test}:2"}
    assert "the same content as" in leaks[f"{test}:1"]
    assert "the same file" in leaks[f"{test}:2"]
    assert found("leak", train) == found("leak", test) == []


def test_films_that_show_the_same_are_known_under_one_background(tmp_path: Path) -> None:
    for number in range(4):
        film(tmp_path / f"{number}.mp4", number)
    film(tmp_path / "again.mp4", 2, noise=4, shift=9)
    train = write(tmp_path / "train.jsonl", [row(f"{number}.mp4") for number in range(4)])
    test = write(tmp_path / "test.jsonl", [row("again.mp4"), row("other.mp4")])
    film(tmp_path / "other.mp4", 11)
    ((where, said),) = found("likeness", train, test)
    assert where == f"{test}:1"
    assert "2.mp4" in said
    assert found("likeness", train, test, frames=False) == []


def test_what_a_blind_model_would_score(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1)
    rows = [
        row("a.mp4", f"is {n} red?", "no" if n % 10 else "yes", facts={"type": "easy"}) for n in range(30)
    ]
    rows += [
        row("a.mp4", f"is {n} big?", "no" if n % 2 else "yes", facts={"type": "fair"}) for n in range(30)
    ]
    # Equal over all, and told by the words of the question alone.
    rows += [
        row("a.mp4", q, a, facts={"type": "telling"})
        for n in range(15)
        for q, a in (("up?", "a"), ("down?", "b"))
    ]
    labels = write(tmp_path / "l.jsonl", rows)
    scores = {one.type: one for one in blind_scores(list(open_samples(labels)))}
    assert (scores["easy"].majority, scores["easy"].blind) == (0.9, 0.9)
    assert scores["fair"].majority == 0.5
    assert scores["fair"].blind < 0.5
    assert (scores["telling"].majority, scores["telling"].blind) == (0.5, 1.0)
    told = [said for _, said in found("blind", labels)]
    assert [word for word in ("easy", "fair", "telling") if any(repr(word) in said for said in told)] == [
        "easy",
        "telling",
    ]


def test_each_question_of_a_conversation_counts(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1)
    talk = [
        {"role": role, "text": text}
        for text in ("is it red?", "who?", "where?")
        for role, text in (("user", text), ("assistant", "no"))
    ]
    labels = write(tmp_path / "l.jsonl", [{"id": str(n), "video": "a.mp4", "turns": talk} for n in range(20)])
    report = check([labels])
    assert sum(one.questions for one in report.blind) == 60
    assert report.rows == 20


def test_conversations_in_one_order_are_told_unless_one_differs(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1)
    talk = [
        {"role": role, "text": text}
        for text in ("who?", "where?")
        for role, text in (("user", text), ("assistant", "x"))
    ]
    other = talk[2:] + talk[:2]
    for last, count in ((talk, 1), (other, 0)):
        rows = [{"video": "a.mp4", "turns": turns} for turns in [talk] * 5 + [last]]
        labels = write(tmp_path / "l.jsonl", rows)
        assert len(found("order", labels)) == count


def test_the_command_fails_on_errors_alone_and_speaks_json(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 1)
    labels = write(tmp_path / "l.jsonl", [row("a.mp4"), row("a.mp4")])
    command = ["data", "check", str(labels), "--workers", "0"]
    warned = CliRunner().invoke(app, command)
    assert warned.exit_code == 0
    assert "asks and answers the same as" in warned.output
    write(labels, [row("a.mp4"), row("gone.mp4")])
    failed = CliRunner().invoke(app, [*command, "--json"])
    assert failed.exit_code == 1
    said = json.loads(failed.stdout.splitlines()[-1])
    assert (said["ok"], said["counts"], said["rows"]) == (False, {"missing": 1}, 2)
    assert "--media-root" not in CliRunner().invoke(app, command).output
    write(labels, [row("gone.mp4"), row("far.mp4")])
    assert "--media-root" in CliRunner().invoke(app, command).output
    with pytest.raises(VidaptError, match="no such file"):
        check([tmp_path / "absent.jsonl"])
