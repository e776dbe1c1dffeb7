"""Clauses that a writer made are the claims, votes for their facts the agreement; else voices count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evidence_tools import model_in, rows_of, score, write_rows
from training_tools import write_clips

from vidapt.errors import FormatError
from vidapt.evidence.provenance import Provenance, read_provenance
from vidapt.teaching.rows import LabelRow

PLAIN: dict[str, Any] = {
    "path": "",
    "folder": "",
    "start_s": 0.0,
    "end_s": None,
    "rate": None,
    "settings": "",
    "teachers": ["t"],
    "frames": [],
    "size": [1, 1],
    "length_s": 1.0,
    "movement": 0.0,
    "agreement": None,
    "rounds": 1,
    "flags": [],
    "calls": [],
    "usage": {},
    "notes": [],
    "created": "",
    "version": "",
}
TEXT = "the red ball hits the blue one, the green one stays. it is 12."
PARTS = ["the red ball hits the blue one,", "the green one stays.", "it is 12."]


def made(clip: str, label: dict[str, Any], facts: list[dict[str, Any]], voices: list[str]) -> dict[str, Any]:
    said = [{"text": text} for text in voices]
    row = LabelRow(key=clip, clip=clip, mode="facts", labels=[label], facts=facts, voices=said, **PLAIN)
    return row.to_dict()


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    file = write_clips(tmp_path / "data", clips=2, questions=1)
    rows = [
        {"id": f"{clip}.mp4", "video": f"{clip}.mp4", "question": "what is it?", "answer": TEXT}
        for clip in (0, 1)
    ]
    write_rows(file, rows)
    facts = [{"id": f"f{n}", "votes": n, "of": 3} for n in (1, 2, 3)]
    parts = [
        {"text": PARTS[0], "facts": ["f3", "f2"]},
        {"text": PARTS[1], "facts": ["f1"]},
        {"text": PARTS[2], "facts": []},
    ]
    voices = [TEXT, "the red ball hits the blue one. the green one goes.", "it is 3."]
    told = [
        made("0.mp4", {"id": "0.mp4", "parts": parts}, facts, []),
        made("1.mp4", {"id": "1.mp4", "parts": []}, [], voices),
    ]
    write_rows(file.with_name(file.name + ".provenance.jsonl"), told)
    return file


def test_a_writers_clauses_are_the_claims_and_their_facts_votes_the_agreement(
    labels: Path, tmp_path: Path
) -> None:
    score(labels, tmp_path / "out.jsonl", model_in(tmp_path / "model"))
    first, second = rows_of(tmp_path / "out.evidence.jsonl")
    assert [claim["text"].strip() for claim in first["claims"]] == PARTS
    assert [claim.get("agreement") for claim in first["claims"]] == [0.6667, 0.3333, None]
    assert [claim["text"] for claim in second["claims"]] == [TEXT[:-9], TEXT[-9:]]
    assert [claim["agreement"] for claim in second["claims"]] == [0.6667, 0.3333]


def test_what_is_no_provenance_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"clip": 1}) + "\n")
    with pytest.raises(FormatError, match="is no row of labels"):
        read_provenance([tmp_path / "a.jsonl"])
    assert Provenance().agreement("a", 0, 1, "x") is None
