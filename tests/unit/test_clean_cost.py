"""What a kept clip costs: of a teacher by provenance, of a student by its captions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from clean_tools import caption, rows_of
from label_tools import beside, film_all, label, pictures_of, provenance, recipe, usage
from served_tools import said, serving
from typer.testing import CliRunner

from vidapt.captioning.rows import write_rows
from vidapt.cleaning.cost import Made, costs
from vidapt.cleaning.job import Source, clean
from vidapt.cleaning.settings import read_cleaning
from vidapt.cli import app

REFUSED = "I'm sorry, but I can't assist with that request."


def cleaned(file: Path, out: Path, **more: Any) -> dict[str, Any]:
    found = clean(Source([file], **more), out, read_cleaning(only=["refusal"])).summary.to_dict()
    assert json.loads(out.with_name("clean.clean.json").read_text())["costs"] == found["costs"]
    return found


def labelled(folder: Path, **endpoint: Any) -> Path:
    """Four clips: two sound, one that is refused in words, one of which nothing can be used."""
    clips, out, seen = film_all(folder / "clips", 4), folder / "labels.jsonl", list[str]()

    def answer(body: dict[str, Any]) -> Any:
        first = pictures_of(body)[0]
        if first not in seen:
            seen.append(first)
        texts = ("A ball rolls over the table.", "A ball hits the cushion and stops.", REFUSED, "")
        return said(texts[seen.index(first)], **usage())

    with serving(answer) as fake:
        label(recipe(fake, endpoint={"concurrency": 1, **endpoint}), clips, out)
    return out


def test_what_was_spent_in_vain_is_part_of_what_a_kept_clip_costs(tmp_path: Path) -> None:
    out = labelled(tmp_path)
    (cost,) = cleaned(out, tmp_path / "clean.jsonl")["costs"]
    price = (1.0 * 100 + 10.0 * 20) / 1e6
    assert (cost["by"], cost["clips"], cost["kept"], cost["calls"]) == ("teacher", 4, 2, 5)
    assert cost["money"] == pytest.approx(5 * price)
    assert cost["per_kept_clip"]["money"] == pytest.approx(5 * price / 2)
    assert cost["per_kept_clip"]["tokens"] == 5 * 120 / 2
    seconds = sum(row["usage"]["seconds"] for row in provenance(out))
    seconds += sum(row["seconds"] for row in rows_of(beside(out, "quarantine")))
    assert cost["seconds"] == pytest.approx(seconds)
    # The same by provenance alone, and in the words of the command.
    (same,) = cleaned(beside(out, "provenance"), tmp_path / "clean.jsonl")["costs"]
    assert same == cost
    page = tmp_path / "page.html"
    own = [
        "clean",
        str(out),
        "--only",
        "refusal",
        "--out",
        str(tmp_path / "clean.jsonl"),
        "--report",
        str(page),
    ]
    done = CliRunner().invoke(app, own)
    assert "money for each kept" in " ".join(done.stdout.split())
    assert "0.00075" in done.stdout
    assert "What a kept clip costs" in page.read_text()


def test_what_nobody_has_priced_is_unknown_and_not_nothing(tmp_path: Path) -> None:
    out = labelled(tmp_path, price=None)
    (cost,) = cleaned(out, tmp_path / "clean.jsonl")["costs"]
    assert (cost["money"], cost["per_kept_clip"]["money"]) == (None, None)
    assert cost["per_kept_clip"]["tokens"] == 300
    assert {row["usage"]["money"] for row in provenance(out)} == {None}
    done = CliRunner().invoke(
        app, ["clean", str(out), "--only", "refusal", "--out", str(tmp_path / "clean.jsonl")]
    )
    assert "unknown" in done.stdout


def student(folder: Path, captions: Sequence[str], suffix: str = ".jsonl") -> Path:
    path = folder / f"captions{suffix}"
    spent = {"visual_tokens": 60, "text_tokens": 30, "new_tokens": 10, "seconds": 1.5}
    clips = folder / "clips"
    made = [caption(clips, f"{n}.mp4", text, key=f"k{n}", **spent) for n, text in enumerate(captions)]
    part = caption(clips, "film.mp4@2-5", "A ball.", key="s", start_s=2.0, end_s=5.0, **spent)
    write_rows(path, [*made, part])
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_captions_of_a_student_are_cleaned_and_cost_its_time(suffix: str, tmp_path: Path) -> None:
    file = student(tmp_path, ["A ball rolls.", REFUSED, "A ball stops."], suffix)
    found = cleaned(file, tmp_path / "clean.jsonl", per_hour=3.6)
    assert (found["rows"], found["kept"]) == (4, 3)
    (cost,) = found["costs"]
    assert (cost["by"], cost["clips"], cost["kept"]) == ("student", 4, 3)
    assert cost["per_kept_clip"] == {"money": 0.002, "seconds": 2.0, "tokens": 133.3}
    (unpriced,) = cleaned(file, tmp_path / "clean.jsonl")["costs"]
    assert unpriced["money"] is None
    rows = rows_of(tmp_path / "clean.jsonl")
    media = [row["media"][0] for row in rows]
    assert [one["path"] for one in media] == ["clips/0.mp4", "clips/2.mp4", "clips/film.mp4"]
    assert (media[2]["start_s"], media[2]["end_s"]) == (2.0, 5.0)


def test_nothing_is_told_of_labels_of_which_nothing_is_known(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text(
        json.dumps({"id": "a", "video": "a.mp4", "question": "what?", "answer": "a ball."}) + "\n"
    )
    assert cleaned(file, tmp_path / "clean.jsonl")["costs"] == []
    made = {"a": Made("student", 1, 10, 1.0, None), "b": Made("teacher", 1, 10, 1.0, 0.5)}
    teacher, other = costs(made, ["a"])
    assert (teacher.kept, teacher.each["money"], other.each["seconds"]) == (0, None, 1.0)


def test_rows_that_do_not_tell_what_was_spent_are_not_counted(tmp_path: Path) -> None:
    out = labelled(tmp_path)
    rows = provenance(out)
    del rows[0]["usage"]["seconds"]
    rows[1]["usage"]["read"] = "many"
    beside(out, "provenance").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    beside(out, "quarantine").write_text("{")
    (cost,) = cleaned(out, tmp_path / "clean.jsonl")["costs"]
    assert (cost["clips"], cost["calls"]) == (1, 1)
