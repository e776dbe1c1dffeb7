"""What models say beside labels: found, compared, its frames found anew, and asked now."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from clean_tools import row, write_rows
from look_over_tools import Up, labels, up, verdicts

from vidapt.errors import FormatError, VidaptError
from vidapt.looking_over.asking import Asker
from vidapt.looking_over.differ import BLIND, LABELS, MODELS, alike
from vidapt.looking_over.pictures import BusyError
from vidapt.looking_over.runs import find_runs
from vidapt.looking_over.shapes import Told
from vidapt.nouns import Sample


def counted(folder: Path, *answers: str) -> Path:
    """Labels that say how many there are; clips are there."""
    labels(folder, len(answers))
    rows = [row(f"r{n}", text, "how many?", facts={"type": "count"}) for n, text in enumerate(answers)]
    return write_rows(folder / "counts.jsonl", rows)


def test_columns_are_named_and_found_in_folders(tmp_path: Path) -> None:
    verdicts(tmp_path / "both" / "base", tmp_path)
    verdicts(tmp_path / "both" / "tuned", tmp_path)
    verdicts(tmp_path / "run" / "eval", tmp_path)
    said = write_rows(tmp_path / "said.jsonl", [{"id": "r0", "answer": "two"}])
    given = [tmp_path / "both", f"first={tmp_path / 'run'}", said, f"first={said}"]
    assert [name for name, _ in find_runs(given)] == ["both/base", "both/tuned", "first", "said", "first (2)"]
    assert find_runs([tmp_path / "run"]) == [("run", tmp_path / "run" / "eval")]
    (tmp_path / "a=b").mkdir()
    for wrong, told in ((tmp_path / "none", "no such file"), (tmp_path / "a=b", r"no predictions\.jsonl")):
        with pytest.raises(FormatError, match=told):
            find_runs([wrong])


def test_what_differs_is_found(tmp_path: Path) -> None:
    file = counted(tmp_path, "two", "two", "two")
    more = write_rows(tmp_path / "more.jsonl", [row("again", "three", "how many?") | {"video": "r2.mp4"}])
    one = verdicts(
        tmp_path / "one", tmp_path, r0={"model": "two", "blind": "two"}, r1={"model": "Two.", "blind": "nine"}
    )
    other = write_rows(
        tmp_path / "other.jsonl", [{"id": "r0", "answer": "two"}, {"id": "r1", "answer": "ten"}]
    )
    with up([file, more], runs=[one, other]) as page:
        facets = page.get("api/start").json()["facets"]["differ"]
        assert facets == {LABELS: 2, MODELS: 1, "other differs from the label": 1, BLIND: 1}
        assert page.found(differ=LABELS) == [2, 3]
        assert page.found(differ=MODELS) == page.found(differ="other differs from the label") == [1]
        assert page.found(differ=BLIND) == [0]
        assert page.get("api/rows/1").json()["differ"] == [MODELS, "other differs from the label"]
        answers = page.get("api/rows/0").json()["answers"]
        assert [(answer["model"], answer["text"], answer["right"]) for answer in answers] == [
            ("one", "two", True),
            ("other", "two", None),
        ]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("two", " Two. ", True),
        ("two", "too", False),
        ("the red ball", "the blue ball", False),
        ("", "", True),
        ("", "two", False),
        ("the red ball hits the blue ball", "red hits blue: the ball", True),
        ("the red ball hits the blue ball", "somebody walks past a window at night", False),
    ],
)
def test_answers_that_say_about_the_same(one: str, other: str, same: bool) -> None:
    assert alike(one, other) is alike(other, one) is same


def test_frames_of_a_model_are_found_by_its_policy(tmp_path: Path) -> None:
    file = counted(tmp_path, "two", "two")
    known = verdicts(tmp_path / "known", tmp_path, "billiards-home", r0={"model": "two"}, r1={"model": "two"})
    strange = verdicts(tmp_path / "strange", tmp_path, "nobody's", r0={"model": "two"})
    (tmp_path / "r1.mp4").write_bytes(b"no film")
    with up([file], runs=[known, strange]) as page:
        first, second = page.get("api/rows/0").json()["answers"]
        assert (first["policy"], second["policy"], first["frames"]) == (True, False, [])
        for _ in range(2):
            seen = page.get("api/clips/0/seen", params={"column": 0}).json()
            assert len(seen) == 18
            assert seen == sorted(seen)
            assert 0 <= seen[0] < seen[-1] <= 3
        assert page.get("api/clips/0/seen", params={"column": 1}).json() == []
        assert page.get("api/clips/1/seen", params={"column": 0}).status_code == 404
        for clip, column, status in ((9, 0, 404), (0, 9, 404), (0, -1, 422)):
            assert page.get(f"api/clips/{clip}/seen", params={"column": column}).status_code == status


def test_a_model_is_asked_with_the_clip_and_without(tmp_path: Path) -> None:
    file = counted(tmp_path, "two", "two")
    (tmp_path / "r1.mp4").write_bytes(b"no film")
    with up([file]) as page:
        assert page.post("api/ask", {"row": 0}).status_code == 404
    with up([file], model="billiards-home") as page:
        assert page.get("api/start").json()["asks"] == "billiards-home"
        told = page.post("api/ask", {"row": 0}).json()
        assert (told["model"], len(told["frames"])) == ("billiards-home", 18)
        assert told["text"]
        assert page.post("api/ask", {"row": 0, "blind": True}).json()["frames"] == []
        broken = page.post("api/ask", {"row": 1})
        assert (broken.status_code, bool(broken.json()["detail"])) == (404, True)
        assert page.post("api/ask", {"row": 9}).status_code == 404
        assert page.post("api/ask", {"row": -1}).status_code == 422


def test_one_question_is_answered_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def slow(*_: Any, **__: Any) -> Told:
        go.wait(60)
        return Told(model="slow", text="so")

    monkeypatch.setattr(Asker, "_answer", slow)
    asker = Asker("slow")
    first: Future[Told] = asker.ask(Sample("a", (), ()), blind=True)
    with pytest.raises(BusyError, match="another question"):
        asker.ask(Sample("a", (), ()), blind=True)
    go.set()
    assert first.result(60).text == "so"
    assert asker.ask(Sample("a", (), ()), blind=True).result(60).text == "so"
    asker.close()

    def failing(*_: Any, **__: Any) -> Told:
        raise VidaptError("slow", "has no weights")

    monkeypatch.setattr(Asker, "_answer", failing)
    with up([counted(tmp_path, "two")], model="slow") as page:
        answer = page.post("api/ask", {"row": 0})
        assert (answer.status_code, "has no weights" in answer.text) == (507, True)


def claims_of(page: Up, number: int) -> list[tuple[str, str, bool]]:
    whole = page.get(f"api/rows/{number}").json()
    said = whole["answer"]
    return [(said[one["start"] : one["end"]], one["verdict"], one["kept"]) for one in whole["claims"]]


def test_claims_are_told_with_what_became_of_them(tmp_path: Path) -> None:
    labels(tmp_path, 2)
    text = "It rolls. It flies."
    base = {"turn": 1, "type": "action"}
    told = [
        base | {"start": 0, "end": 9, "text": "It rolls.", "verdict": "supported", "evidence": 2.5},
        base | {"start": 9, "end": 19, "text": " It flies.", "verdict": "contradicted", "evidence": -1.0},
    ]
    rows = [row(f"r{n}", text, claims=told) for n in range(2)]
    file = write_rows(tmp_path / "labels.jsonl", rows)
    now = rows[1] | {"answer": "It rolls.", "claims": told[:1]}
    line = {"id": "r1", "check": "unsupported", "version": 1, "verdict": "rewrite", "reason": "unseen"}
    line |= {"again": False, "source": "labels.jsonl:2", "row": rows[1], "now": now}
    aside = write_rows(tmp_path / "clean.rejected.jsonl", [json.dumps(line)])
    with up([file], rejected=aside) as page:
        assert page.found(claims="contradicted") == [0, 1]
        assert claims_of(page, 0) == [("It rolls.", "supported", True), (" It flies.", "contradicted", True)]
        assert claims_of(page, 1) == [("It rolls.", "supported", True), (" It flies.", "contradicted", False)]
        assert page.get("api/start").json()["facets"]["claims"] == {"contradicted": 2, "supported": 2}
