"""`vidapt clean` as a user runs it: files, provenance, a page, a model that sees no clips, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clean_tools import ASK, row, rows_of, write_rows
from label_tools import film
from typer.testing import CliRunner

import vidapt
from vidapt.cleaning.likelihood import Likelihood
from vidapt.cli import app
from vidapt.formats import open_samples

REFUSED = "I'm sorry, but I can't help with that."


def run(*words: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["clean", *map(str, words)])
    return done.exit_code, done.stdout, done.stderr


def labels(folder: Path) -> Path:
    """Four good rows, four bad ones, and a line that is none; two clips are there."""
    film(folder / "good0.mp4", 0)
    film(folder / "refused.mp4", 1)
    rows = [row(f"good{n}", f"Ball number {n} rolls.\u2028It stops.") for n in range(4)]
    bad = [
        row("refused", REFUSED),
        row("looped", "The ball rolls. " * 9),
        row("json", '{"caption": "The ball rolls.", "then'),
        {
            "id": "talk",
            "video": "good0.mp4",
            "turns": [
                {"role": "user", "text": "<video>\nWhat is it?"},
                {"role": "assistant", "text": REFUSED},
                {"role": "user", "text": "Which colour?"},
                {"role": "assistant", "text": "red"},
            ],
        },
    ]
    return write_rows(folder / "labels.jsonl", [*rows, *bad, "{not json"])


def test_bad_rows_stand_beside_the_clean_ones_and_nothing_is_lost(tmp_path: Path) -> None:
    file, out, page = labels(tmp_path), tmp_path / "c" / "clean.jsonl", tmp_path / "page.html"
    status, said, told = run(file, "--out", out, "--report", page, "--json")
    assert status == 0, told
    found = json.loads(said)
    assert (found["rows"], found["kept"], found["dropped"], found["rewritten"]) == (9, 5, 4, 1)
    assert (found["unsound"], found["again"]) == (1, 3)
    assert json.loads((out.parent / "clean.clean.json").read_text()) == found
    kept = {one.id: one for one in open_samples(out, check_files=False)}
    assert list(kept) == ["good0", "good1", "good2", "good3", "json"]
    assert json.loads(kept["json"].answer) == {"caption": "The ball rolls."}
    rejected = rows_of(out.parent / "clean.rejected.jsonl")
    assert [(one["id"], one["check"], one["verdict"]) for one in rejected] == [
        (None, "row", "drop"),
        ("refused", "refusal", "drop"),
        ("looped", "loop", "drop"),
        ("json", "broken_json", "rewrite"),
        ("talk", "refusal", "drop"),
    ]
    assert rejected[0]["source"].endswith("labels.jsonl:9")
    assert [one["version"] for one in rejected] == [1] * 5
    assert rejected[1]["row"]["answer"] == REFUSED
    assert len(rejected[4]["row"]["turns"]) == 4
    html = page.read_text(encoding="utf-8")
    assert html.count('<img src="data:image/jpeg') == 2
    assert "refuses: " in html
    assert "<video>\nWhat" not in html

    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    assert sorted(before) == ["clean.clean.json", "clean.jsonl", "clean.rejected.jsonl"]
    assert run(file, "--out", out)[0] == 0
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before
    status, said, told = run(out, "--out", out.with_name("again.jsonl"))
    assert "kept: 5 of 5 rows" in said
    assert out.with_name("again.jsonl").read_bytes() == before["clean.jsonl"]


def provenance(folder: Path, *captions: tuple[str, tuple[str, ...], float | None]) -> Path:
    texts = dict.fromkeys(("folder", "settings", "created", "version"), "")
    lists: dict[str, Any] = {
        name: [] for name in ("teachers", "frames", "size", "facts", "flags", "calls", "notes")
    }
    other = {"start_s": 0.0, "end_s": None, "rate": None, "length_s": 1.0, "movement": 0.0, "rounds": 1}
    columns: dict[str, Any] = {**texts, **lists, **other, "mode": "caption", "usage": {}}
    rows = []
    for n, (text, voices, agreement) in enumerate(captions):
        said = [
            {"teacher": "t", "seed": 0, "text": one, "agreement": 0.5, "cut_off": False} for one in voices
        ]
        label = {
            "id": f"{n}.mp4",
            "kind": "caption",
            "question": ASK,
            "text": text,
            "type": "caption",
            "parts": [],
        }
        own = {
            "key": str(n),
            "clip": f"{n}.mp4",
            "path": f"/clips/{n}.mp4",
            "labels": [label],
            "voices": said,
            "agreement": agreement,
        }
        rows.append(columns | own)
    return write_rows(folder / "labels.jsonl.provenance.jsonl", rows)


def test_provenance_beside_labels_tells_what_voices_gainsay(tmp_path: Path) -> None:
    three, four = "It hits three balls.", "It hits four balls."
    made = provenance(
        tmp_path,
        (three, (three, four, four), 0.4),
        (three, (three, three, four), 0.6),
        (four, (four, "X."), 0.1),
    )
    rows = [row(f"{n}.mp4", text) for n, text in enumerate((three, three, four))]
    file = write_rows(tmp_path / "labels.jsonl", rows)
    for given in ((file,), (made,), (write_rows(tmp_path / "moved.jsonl", rows), "--provenance", made)):
        out = tmp_path / "out" / "clean.jsonl"
        status, _, told = run(*given, "--out", out)
        assert status == 0, told
        assert [one["id"] for one in rows_of(out)] == ["1.mp4"]
        reasons = [one["reason"] for one in rows_of(out.with_name("clean.rejected.jsonl"))]
        assert reasons[0] == "says 'It hits three balls.' where another voice says 'It hits four balls.'"
        assert reasons[1] == "its voices agree by 0.10, less than 0.2"


def test_a_model_that_sees_no_clips_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"{n}", "yes" if n else "the", f"is ball {n} pocketed?") for n in range(20)]
    file, out = (
        write_rows(tmp_path / "labels.jsonl", [*rows, row("long", "red " * 3000)]),
        tmp_path / "c.jsonl",
    )
    engine = vidapt.load("billiards-home")
    monkeypatch.setattr("vidapt.inference.load.load", lambda *_, **__: engine)
    words = (file, "--only", "blind", "--blind", "billiards-home", "--out", out, "--json")
    low = ("--set", "checks.blind.likely=0.000001", "--set", "checks.blind.least=2")
    status, said, told = run(*words, *low)
    assert status == 0, told
    found = json.loads(said)
    assert found["blind"]
    assert 0 < found["checks"]["blind"]["dropped"] < 21
    numbers = rows_of(tmp_path / "c.blind.jsonl")
    assert len(numbers) == 21
    assert sum(one["mean"] < -1000 for one in numbers) == 1
    before = out.read_bytes()

    # As a kill leaves it: half of a line at the end, and some numbers not there yet.
    kept = (tmp_path / "c.blind.jsonl").read_bytes()
    lines = kept.splitlines(keepends=True)
    (tmp_path / "c.blind.jsonl").write_bytes(b"".join(lines[:15]) + lines[15][:9])
    read: list[int] = []
    means = Likelihood._means
    monkeypatch.setattr(Likelihood, "_means", lambda own, asked: read.append(len(asked)) or means(own, asked))
    assert run(*words, *low)[0] == 0
    assert sum(read) == 6
    assert out.read_bytes() == before


def test_what_cannot_be_used_is_refused_before_work(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "labels.jsonl", [row("a", "red")])
    assert "no labels are given" in run()[2]
    assert "there is no such file" in run(tmp_path / "none.jsonl")[2]
    assert "there is no check 'lop'" in run(file, "--only", "lop")[2]
    assert "would be written over" in run(file, "--out", file)[2]
    status, _, told = run(
        file, "--set", "checks.contradiction.lexicon=/none.yaml", "--out", tmp_path / "c.jsonl"
    )
    assert (status, "cannot be read" in told) == (2, True)
    status, said, _ = run("--new-settings", tmp_path / "clean.yaml")
    assert (status, said.strip()) == (0, str(tmp_path / "clean.yaml"))
    assert "exists" in run("--new-settings", tmp_path / "clean.yaml")[2]
    assert run(file, "--settings", tmp_path / "clean.yaml", "--out", tmp_path / "c.jsonl")[0] == 0
