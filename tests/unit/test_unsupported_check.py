"""Labels that clips speak against are mended or set aside, where `vidapt evidence` has looked at them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from clean_tools import judge, row, rows_of, run, sample, write_rows

from vidapt.claims import Claim, clauses, read_claims
from vidapt.cleaning.labels import Label
from vidapt.cleaning.pipeline import judge_all
from vidapt.cleaning.settings import read_cleaning
from vidapt.nouns import Sample

TEXT = "The man opens the door. The dog is white. A car stops."


def claimed(text: str, *verdicts: str) -> tuple[Claim, ...]:
    pairs = zip(clauses(text), verdicts, strict=True)
    return tuple(
        Claim(1, a, b, text[a:b], "kind", verdict, evidence=-1.0)  # type: ignore[arg-type]
        for (a, b), verdict in pairs
    )


def told(*verdicts: str, text: str = TEXT) -> Sample:
    return replace(sample("a", text), claims=claimed(text, *verdicts))


def test_contradicted_clauses_go_and_unseen_ones_stay() -> None:
    labels = [
        Label(told("supported", "contradicted", "unseen"), 1),
        Label(told("contradicted", "contradicted", "contradicted"), 1),
        Label(told("supported", "unchecked", "unseen"), 1),
        Label(sample("b", TEXT), 1),
    ]
    found = judge("unsupported", labels)
    assert [one.outcome for one in found] == ["rewrite", "drop", "keep", "keep"]
    assert found[0].text == "The man opens the door. A car stops."
    assert "contradicted by the clip (evidence -1.0): 'The dog is white.'" in found[0].reason
    assert found[1].again
    assert "and 2 more" in found[1].reason
    strict = judge("unsupported", labels, unseen="drop", contradicted="drop")
    assert [one.outcome for one in strict] == ["drop", "drop", "drop", "keep"]
    few = judge("unsupported", labels, least=0.5, contradicted="keep")
    assert [one.outcome for one in few] == ["drop", "drop", "keep", "keep"]
    assert few[0].reason == "1 of 3 claims are borne out by the clip"


def test_what_is_mended_stays_so_and_keeps_the_claims_that_still_stand() -> None:
    checks = read_cleaning(None, only=["unsupported"]).opened()
    found = judge_all([told("supported", "contradicted", "unseen")], {}, checks)
    (kept,) = found.kept.values()
    assert [one.verdict for one in kept.claims] == ["supported", "unseen"]
    assert [kept.answer[one.start : one.end] for one in kept.claims] == [one.text for one in kept.claims]
    assert read_claims([one.to_dict() for one in kept.claims], kept) == kept.claims
    again = judge_all([kept], {}, checks)
    assert (again.kept, again.fates) == ({"a": kept}, {})


def test_it_is_asked_by_default_and_says_nothing_without_the_column(tmp_path: Path) -> None:
    claims = [claim.to_dict() for claim in claimed(TEXT, "supported", "contradicted", "unseen")]
    labels = write_rows(tmp_path / "labels.jsonl", [row("a", TEXT, claims=claims), row("b", TEXT)])
    cleaned = run(labels, tmp_path / "clean.jsonl", without=["length"])
    assert cleaned.summary.checks["unsupported"].rewritten == 1
    first, second = rows_of(tmp_path / "clean.jsonl")
    assert first["answer"] == "The man opens the door. A car stops."
    assert len(first["claims"]) == 2
    assert second["answer"] == TEXT
