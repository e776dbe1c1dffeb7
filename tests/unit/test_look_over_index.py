"""The index beside the data: rows come back as they were, and a file that changed counts at once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from clean_tools import row, write_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from look_over_tools import SCRIPT, book_of, labels, provenance, up

from vidapt.claims import Claim
from vidapt.looking_over import index
from vidapt.looking_over.book import open_book
from vidapt.looking_over.entries import Item
from vidapt.looking_over.gather import Sources, label_files
from vidapt.looking_over.made import Clause, Made, Origin
from vidapt.nouns import Clip, Sample, Turn

TEXTS = st.text(st.characters(exclude_categories=()), max_size=12)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)


@st.composite
def items(draw: st.DrawFn) -> Item:
    said = draw(TEXTS)
    turns = (Turn("user", draw(TEXTS)), Turn("assistant", said))
    claim = Claim(1, 0, 1, said[:1], draw(TEXTS), "unseen", ((0, 1),), evidence=draw(st.floats(-9, 9)))
    sample = Sample(
        draw(NAMES),
        (Clip(draw(NAMES), Path("/clips") / "c.mp4", draw(st.floats(0, 9)), None, None),),
        turns,
        draw(st.none() | TEXTS),
        {"type": draw(TEXTS), "accept": [draw(TEXTS)]},
        "labels.jsonl:1",
        (draw(TEXTS),),
        (claim,) if said else (),
    )
    made = Made(frames=[0.5], flags=[draw(TEXTS)], agreement=draw(st.none() | st.floats(0, 1)))
    origin = Origin(made, said, (Clause(text=draw(TEXTS), borne_out=0.5),))
    return Item(
        sample,
        (0,),
        draw(st.sampled_from(["keep", "drop"])),
        draw(NAMES),
        draw(TEXTS),
        draw(st.none() | st.just(sample)),
        draw(st.none() | st.just(origin)),
        draw(st.booleans()),
        draw(NAMES),
        tuple(draw(st.lists(NAMES, max_size=2))),
    )


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(items(), max_size=4, unique_by=lambda one: one.sample.id))
def test_rows_come_back_as_they_were(tmp_path: Path, rows: list[Item]) -> None:
    book = book_of(tmp_path / "book", rows)
    assert list(book.items) == rows
    for number, one in enumerate(rows):
        assert book.verdict.one(number) == one.verdict
        assert book.check.one(number) == index.writable(one.check)
    assert {key for _, key, _ in book.find([one.sample.id for one in rows])} == {
        one.sample.id for one in rows
    }


def test_groups_are_read_as_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidapt.looking_over.index.GROUP", 7)
    monkeypatch.setattr("vidapt.looking_over.book.GROUP", 7)
    rows = [row(f"r{n}", f"Ball {n} rolls.") | {"video": f"r{n % 5}.mp4"} for n in range(40)]
    with up([write_rows(tmp_path / "labels.jsonl", rows)]) as page:
        assert [page.book.items[n].sample.id for n in (39, 0, 7, 6)] == ["r39", "r0", "r7", "r6"]
        assert page.found(text="ball 3") == [3, *range(30, 40)]
        assert page.found(each="clip") == [0, 1, 2, 3, 4]
        assert page.book.rows_of(2) == list(range(2, 40, 5))
        briefs = page.get("api/rows", params={"row": [38, 1]}).json()
        assert [one["text"] for one in briefs] == ["Ball 38 rolls.", "Ball 1 rolls."]


def test_an_index_is_made_once_and_anew_when_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, made = labels(tmp_path, 2), list[int]()
    gather = index.gather
    monkeypatch.setattr(index, "gather", lambda *given: (made.append(1), gather(*given))[1])
    for _ in range(2):
        assert len(open_book(Sources([file]))) == 2
    assert len(made) == 1
    status = file.stat()
    text = file.read_text().replace("Ball 1", "Ball 7")
    file.write_text(text)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # of the same size and time
    assert open_book(Sources([file])).items[1].sample.answer == "Ball 7 rolls."
    provenance(tmp_path, {"clip": "r0", "text": "Ball 0 rolls.", "frames": [0.5]})
    assert open_book(Sources([file])).items[0].origin is not None
    file.write_text(text + json.dumps(row("r9", "One more.")) + "\n")
    assert len(open_book(Sources([file]))) == 3
    assert len(made) == 4
    (kept,) = (tmp_path / ".vidapt").glob("look-over-*")
    (kept / "index.json").write_text("{")  # cut off
    assert len(open_book(Sources([file]))) == 3
    for number in range(7):
        open_book(Sources([file], options={"caption_prompt": f"{number}?"}))
    assert len(list((tmp_path / ".vidapt").glob("look-over-*"))) == 4


def test_a_page_says_that_its_files_have_changed(tmp_path: Path) -> None:
    file = labels(tmp_path, 2)
    with up([file]) as page:
        assert not page.get("api/news").json()["stale"]
        file.write_text(file.read_text() + "\n")
        assert page.get("api/news").json()["stale"]
        assert page.get("api/rows/1").json()["answer"] == "Ball 1 rolls."  # as it was
        file.unlink()
        assert page.get("api/news").json()["stale"]


def test_an_index_that_was_not_finished_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(folder: Path, *_: object) -> None:
        (folder / "rows.parquet").write_bytes(b"half")
        raise KeyboardInterrupt

    file = labels(tmp_path, 2)
    with monkeypatch.context() as context:
        context.setattr(index, "write_index", killed)
        with pytest.raises(KeyboardInterrupt):
            open_book(Sources([file]))
    assert not list((tmp_path / ".vidapt").glob("look-over-*/"))
    assert len(open_book(Sources([file]))) == 2


def test_parts_of_divided_data_are_found_in_their_folder(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_rows(tmp_path / f"{name}.jsonl", [row(f"{name}-{n}", "So.") for n in range(2)])
    for name in ("train.rejected.jsonl", "test.jsonl.provenance.jsonl", "x.decisions.jsonl"):
        (tmp_path / name).touch()
    write_rows(tmp_path / "events.jsonl", [{"id": "a", "events": []}])
    (tmp_path / "notes.txt").write_text("of mine")
    assert [one.name for one in label_files(tmp_path)] == ["test.jsonl", "train.jsonl"]
    with up([tmp_path], decisions=tmp_path / "d.jsonl") as page:
        facets = page.get("api/start").json()["facets"]
        assert facets["split"] == {"test": 2, "train": 2}
        assert page.found(split="train") == [2, 3]
    stated = [row("a", "So.", facts={"split": "held out"}), row("b", "So.")]
    assert open_book(Sources([write_rows(tmp_path / "x.jsonl", stated)])).split.one(0) == "held out"


def test_clips_without_labels_can_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    labels(tmp_path / "clips", 2).unlink()
    with up([tmp_path / "clips"]) as page:
        whole = page.get("api/rows/1").json()
        assert (whole["id"], whole["answer"], whole["turns"]) == ("r1.mp4", "", [])
        assert page.decide(0, "drop").status_code == 200
        refused = page.decide(1, "rewrite", "A ball.")
        assert (refused.status_code, "no label to edit" in refused.text) == (422, True)


def test_search_takes_words_as_they_are(tmp_path: Path) -> None:
    rows = [row("r0", SCRIPT), row("r1", "50 % (.*) of ÄPFEL"), row("r2", "\\d+")]
    with up([write_rows(tmp_path / "labels.jsonl", rows)]) as page:
        for words, found in (("(.*)", [1]), ("äpfel", [1]), ("\\d", [2]), ("<SCRIPT>", [0]), ("%_", [])):
            assert page.found(text=words) == found, words
