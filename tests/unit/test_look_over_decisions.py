"""Decisions made on the page: on the disk before they count, never lost, and done by `vidapt clean`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from clean_tools import row, rows_of, run, write_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from look_over_tools import book_of, labels, rejected, up

from vidapt.curation.versions import check_version
from vidapt.decisions import about, read_decisions
from vidapt.errors import ConfigError, VidaptError
from vidapt.locks import TakenError
from vidapt.looking_over.book import Book, open_book
from vidapt.looking_over.entries import Item
from vidapt.looking_over.gather import Sources
from vidapt.looking_over.ledger import Ledger, OvertakenError
from vidapt.measure.command import Asking
from vidapt.measure.protocols.rows import read_test
from vidapt.nouns import Clip, Sample, Turn

REFUSED = "I'm sorry, but I can't help with that."


def dirty(folder: Path) -> Path:
    """Eight rows, of which a cleaning refuses four."""
    rows = [row(f"r{n}", REFUSED if n % 2 else f"Ball {n} rolls to the left.") for n in range(8)]
    return write_rows(folder / "labels.jsonl", rows)


def test_decisions_are_lines_that_clean_does(tmp_path: Path) -> None:
    file = dirty(tmp_path)
    first = run(file, tmp_path / "clean.jsonl", only=["refusal"])
    with up([file], rejected=tmp_path / "clean.rejected.jsonl") as page:
        assert page.get("api/start").json()["standing"] == {
            "count": 0,
            "decided": 0,
            "settled": 0,
            "disputed": 4,
            "kappa": None,
        }
        assert page.decide(0, "drop").status_code == 200
        assert page.decide(1, "keep").json()["changes"][0]["by"] == "Ann"
        assert page.decide(3, "rewrite", "Ball 3 rolls.\nIt stops.").status_code == 200
        assert page.decide(2, "keep").status_code == 200
        assert page.decide(5, "drop").status_code == 200
        standing = page.decide(5, "undecided", seen=5).json()["standing"]
        told = page.get("api/rows/3").json()["decision"]
    assert (told["verdict"], told["text"], told["seen"]) == ("rewrite", "Ball 3 rolls.\nIt stops.", 3)
    lines = rows_of(tmp_path / "decisions.jsonl")
    assert [one["verdict"] for one in lines] == ["drop", "keep", "rewrite", "keep", "drop", "undecided"]
    assert lines[1] == {"id": "r1", "verdict": "keep", "by": "Ann", "check": "refusal", "of": lines[1]["of"]}

    cleaned = run(file, tmp_path / "final.jsonl", only=["refusal"], decisions=tmp_path / "decisions.jsonl")
    kept = {one["id"]: one["answer"] for one in rows_of(tmp_path / "final.jsonl")}
    assert kept == {
        "r1": REFUSED,
        "r2": "Ball 2 rolls to the left.",
        "r3": "Ball 3 rolls.\nIt stops.",
        "r4": "Ball 4 rolls to the left.",
        "r6": "Ball 6 rolls to the left.",
    }
    agreed = cleaned.summary.agreement
    assert first.summary.agreement is None
    assert agreed is not None
    assert (agreed.decided, agreed.unknown, agreed.kappa) == (4, 0, standing["kappa"])
    assert standing == {"count": 6, "decided": 4, "settled": 2, "disputed": 4, "kappa": 0.0}

    # Cleaned as was decided, the rejected file says `person` or nothing of these rows: decisions know still.
    with up([file], rejected=tmp_path / "final.rejected.jsonl") as page:
        assert page.get("api/start").json()["standing"]["kappa"] == standing["kappa"]
        assert page.get("api/rows/1").json()["check"] == "refusal"
        assert page.get("api/rows/1").json()["decision"]["verdict"] == "keep"
        assert page.found(state="decided") == [0, 1, 2, 3]


def test_two_who_decide_at_once_lose_no_line(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "labels.jsonl", [row(f"r{n}", f"Ball {n} rolls.") for n in range(60)])
    with up([file]) as page, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: page.decide(n % 60, "drop" if n < 60 else "keep"), range(120)))
        assert sorted(one.status_code for one in answers) == [200] * 60 + [409] * 60
        assert page.get("api/news").json()["standing"]["decided"] == 60
        assert page.get("api/news", params={"after": 58}).json()["changes"][1]["seen"] == 60
    lines = rows_of(tmp_path / "decisions.jsonl")
    assert len(lines) == 60
    assert len({one["id"] for one in lines}) == 60


def test_who_did_not_see_a_decision_does_not_undo_it(tmp_path: Path) -> None:
    with up([labels(tmp_path)]) as page:
        assert page.decide(0, "drop").json()["changes"][0]["seen"] == 1
        late = page.decide(0, "keep")
        assert (late.status_code, "somebody else" in late.text) == (409, True)
        assert page.decide(0, "keep", seen=1).status_code == 200
        assert page.decide(0, "undecided", seen=2).status_code == 200
        assert page.decide(0, "drop", seen=2).status_code == 409
        assert page.decide(0, "drop").status_code == 200
    assert [one["verdict"] for one in rows_of(tmp_path / "decisions.jsonl")] == [
        "drop",
        "keep",
        "undecided",
        "drop",
    ]


@pytest.mark.parametrize("text", ["", " \n", "It <video> rolls.", "\u200b"])
def test_a_text_that_no_label_file_holds_is_refused(tmp_path: Path, text: str) -> None:
    with up([labels(tmp_path)]) as page:
        answer = page.decide(0, "rewrite", text)
        assert answer.status_code == 422
        assert answer.json()["detail"]
    assert not (tmp_path / "decisions.jsonl").exists()


def rolling(count: int = 3, word: str = "rolls") -> list[Item]:
    def sample(name: str) -> Sample:
        turns = (Turn("user", "what?"), Turn("assistant", f"{name} {word}"))
        return Sample(name, (Clip(name, Path("/c.mp4")),), turns)

    return [Item(sample(f"r{number}"), (0,)) for number in range(count)]


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    """Three rows that say that something rolls."""
    return book_of(tmp_path_factory.mktemp("book"), rolling())


@pytest.mark.parametrize(
    "content", [b'{"id": "a", "question": "?", "answer": "!"}', b"notes of mine", b"[1, 2]\n", b"\x00\xff"]
)
def test_another_file_is_refused_and_stays_as_it_is(tmp_path: Path, book: Book, content: bytes) -> None:
    (tmp_path / "notes.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match=r"notes\.jsonl:1"):
        Ledger(tmp_path / "notes.jsonl", book)
    assert (tmp_path / "notes.jsonl").read_bytes() == content


def test_decisions_about_other_labels_are_refused_plainly(tmp_path: Path, book: Book) -> None:
    file = tmp_path / "d.jsonl"
    stops = book_of(tmp_path / "stops", rolling(word="stops"))
    ledger = Ledger(file, stops)
    ledger.decide(0, "drop", "", "", 0)
    with pytest.raises(TakenError):
        Ledger(file, stops)
    ledger.close()
    before = file.read_bytes()
    with pytest.raises(
        ConfigError, match="none of its 1 decisions is about these labels; the first is about 'r0'"
    ):
        Ledger(file, book)
    write_rows(tmp_path / "labels.jsonl", [row("r0", "It rolls.")])
    with pytest.raises(ConfigError, match="none of its 1 decisions"):
        run(tmp_path / "labels.jsonl", tmp_path / "clean.jsonl", decisions=file)
    assert file.read_bytes() == before
    rows = [*rolling(2), *rolling(3, word="stops")[:1]][1:]
    mixed = Ledger(file, book_of(tmp_path / "mixed", rows))
    assert (mixed.strangers, mixed.of(1).decision.verdict) == (0, "drop")  # type: ignore[union-attr]
    mixed.close()


def test_lines_of_a_person_and_of_a_power_cut(tmp_path: Path, book: Book) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text('{"id": "r0", "verdict": "keep"}\n{"id": "r1", "verdict": "drop"}')
    ledger = Ledger(file, book)
    ledger.decide(2, "keep", "", "", 0)
    ledger.close()
    assert [one["id"] for one in rows_of(file)] == ["r0", "r1", "r2"]
    with file.open("ab") as more:
        more.write(b'{"id": "r0", "verdict": "dr')
    ledger = Ledger(file, book)
    ledger.decide(1, "keep", "", "", 2)
    ledger.close()
    assert {key: one.verdict for key, one in read_decisions(file).items()} == dict.fromkeys(
        ("r0", "r1", "r2"), "keep"
    )


def test_a_disk_that_was_full_for_a_while(
    tmp_path: Path, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "d.jsonl"
    ledger = Ledger(file, book)

    def half(own: Any, line: Any) -> None:
        with own.path.open("ab") as written:
            written.write(json.dumps(line).encode()[:9])
        raise VidaptError(own.path, "the disk is full")

    with monkeypatch.context() as context:
        context.setattr("vidapt.appended.Appended.write", half)
        with pytest.raises(VidaptError, match="full"):
            ledger.decide(0, "drop", "", "", 0)
    assert ledger.of(0) is None
    ledger.decide(1, "keep", "", "", 0)
    ledger.close()
    assert list(read_decisions(file)) == ["r1"]


VERDICTS = st.sampled_from(["keep", "drop", "rewrite", "undecided"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=15)
@given(
    wishes=st.lists(
        st.tuples(st.integers(0, 2), VERDICTS, st.text(min_size=1, max_size=8), st.booleans()), max_size=12
    )
)
def test_what_is_shown_is_what_the_file_says(
    tmp_path: Path, book: Book, wishes: list[tuple[int, str, str, bool]]
) -> None:
    """Whatever is decided in whatever order, and however often the page is started anew."""
    file = tmp_path / "d.jsonl"
    file.unlink(missing_ok=True)
    ledger = Ledger(file, book)
    for number, verdict, text, anew in wishes:
        seen = 0 if (held := ledger.of(number)) is None else held.count
        try:
            ledger.decide(number, verdict, text if verdict == "rewrite" else "", "", seen)
        except ConfigError:
            assert verdict == "rewrite"
        with pytest.raises(OvertakenError):
            ledger.decide(number, "keep", "", "", 999)
        if anew:
            ledger.close()
            ledger = Ledger(file, book)
    shown = {f"r{n}": one.decision.verdict for n in range(3) if (one := ledger.of(n)) is not None}
    ledger.close()
    written = {key: one.verdict for key, one in read_decisions(file).items()} if file.exists() else {}
    assert shown == written


def test_labels_may_be_those_before_or_behind_a_cleaning(tmp_path: Path) -> None:
    file = labels(tmp_path)
    told = ("r1", "refusal", "drop", None), ("r2", "broken_json", "rewrite", "Ball two rolls.")
    aside = rejected(tmp_path, *told)
    rows = rows_of(file)
    clean = write_rows(tmp_path / "clean.jsonl", [rows[0], rows[2] | {"answer": "Ball two rolls."}, rows[3]])
    before, behind = (open_book(Sources([one], rejected=aside)) for one in (file, clean))
    plain = [
        {i.sample.id: (i.sample.answer, i.verdict, i.check, about(i.sample)) for i in b.items}
        for b in (before, behind)
    ]
    assert plain[0] == plain[1]
    changed = write_rows(tmp_path / "new.jsonl", [row("r1", "Another one."), row("r2", "Ball 2 rolls.")])
    book = open_book(Sources([changed], rejected=aside))
    assert [item.check for item in book.items] == ["", "broken_json"]
    assert book.notes == ["1 rejected rows are not those of these labels any more, and are left out"]
    other = write_rows(tmp_path / "other.jsonl", [row("r1", "Another one."), row("r2", "And another.")])
    with pytest.raises(ConfigError, match="is about other labels"):
        open_book(Sources([other], rejected=aside))


def test_a_file_that_is_gone_takes_no_decision_along(tmp_path: Path, book: Book) -> None:
    file = tmp_path / "decisions.jsonl"
    ledger = Ledger(file, book)
    ledger.decide(0, "keep", "", "", 0)
    file.unlink()
    with pytest.raises(ConfigError, match="deleted or replaced while the page was up"):
        ledger.decide(1, "drop", "", "", 0)
    assert (ledger.of(1), ledger.progress().count) == (None, 1)
    ledger.close()


def test_what_others_write_into_the_file_counts_at_once(tmp_path: Path) -> None:
    """An editor that writes a file in place, or another tool that adds lines to it."""
    file = tmp_path / "decisions.jsonl"
    with up([labels(tmp_path)]) as page:
        page.decide(0, "drop")
        page.decide(1, "keep")
        lines = rows_of(file)
        changed = [lines[1] | {"verdict": "drop", "by": "Bob"}, {"id": "r2", "verdict": "keep"}]
        file.write_text("\n".join(map(json.dumps, changed)))  # without an end, as editors leave it
        news = page.get("api/news", params={"after": 2}).json()
        assert {one["row"]: (one["verdict"], one["by"]) for one in news["changes"]} == {
            0: ("undecided", "Ann"),
            1: ("drop", "Bob"),
            2: ("keep", ""),
        }
        assert news["standing"]["decided"] == 2
        assert page.decide(1, "keep", seen=2).status_code == 409
        assert page.decide(3, "drop").status_code == 200
        assert [one["id"] for one in rows_of(file)] == ["r1", "r2", "r3"]
        other = write_rows(tmp_path / "other.jsonl", [*rows_of(file)[:2], {"id": "r0", "verdict": "drop"}])
        other.replace(file)  # as other editors do
        news = page.get("api/news", params={"after": 6}).json()
        assert {one["row"]: one["verdict"] for one in news["changes"]} == {0: "drop", 3: "undecided"}
        assert page.decide(3, "keep").status_code == 200
        assert [one["id"] for one in rows_of(file)] == ["r1", "r2", "r0", "r3"]
        file.write_text("notes of mine\n")
        told = page.get("api/news", params={"after": 0})
        assert (told.status_code, "is no JSON" in told.text) == (507, True)
        assert page.decide(0, "keep").status_code == 422
        file.write_text("")
        assert page.get("api/news").json()["standing"]["decided"] == 0
        file.write_text(json.dumps({"id": "r0", "verdict": "drop"}) + "\n")
    assert [one["id"] for one in rows_of(file)] == ["r0"]  # not removed as one in which nothing was written


def test_the_page_freezes_what_was_decided(tmp_path: Path) -> None:
    with up([labels(tmp_path)]) as page:
        page.decide(0, "drop")
        page.decide(1, "rewrite", "Ball one rolls.")
        found = page.post("api/freeze", {"name": "first"}).json()
        assert (found["rows"], found["left_out"]) == (3, 0)
        assert check_version(Path(found["folder"])) == found["version"]
        again = page.post("api/freeze", {"name": "first"}).json()
        assert again == found
        page.decide(2, "drop")
        other = page.post("api/freeze", {"name": "first"})
        assert (other.status_code, "holds another version" in other.text) == (507, True)
        for name in ("", "../up", "a/b", ".hidden", "x" * 101):
            assert page.post("api/freeze", {"name": name}).status_code == 422
    frozen = {one["id"]: one["answer"] for one in rows_of(tmp_path / "versions" / "first" / "labels.jsonl")}
    assert frozen == {"r1": "Ball one rolls.", "r2": "Ball 2 rolls.", "r3": "Ball 3 rolls."}
    version = tmp_path / "versions" / "first"
    assert len(Asking(version).samples) == len(read_test(version)) == 3
    file = version / "labels.jsonl"
    file.write_text(file.read_text().replace("Ball 3 rolls.", "Ball 4 rolls."))
    with pytest.raises(ConfigError, match="is not what was frozen"):
        _ = Asking(version).samples
    with pytest.raises(ConfigError, match="is not what was frozen"):
        read_test(version)
