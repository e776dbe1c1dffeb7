"""On a simulated pool table, answers made false are told from true ones by a model that sees the clips."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from evidence_tools import rows_of, score, write_rows

from vidapt.metrics.match import is_match
from vidapt.worlds.billiards.dataset import simulate


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str]]:
    """Labels of eight clips, a third of whose short answers are another's, and false."""
    pool = tmp_path_factory.mktemp("pool")
    simulate(pool, clips=8, venue="home", seed=91, workers=1)
    rows, draw, false = rows_of(pool / "labels.jsonl"), Random(0), set()
    said: dict[str, list[str]] = {}
    for row in rows:
        said.setdefault(row["facts"]["type"], []).append(row["answer"])
    for row in rows:
        kind, accept = row["facts"]["type"], row["facts"]["accept"]
        others = [one for one in said[kind] if not is_match(one, accept)]
        if row["facts"]["value"] != "text" and others and draw.random() < 0.33:
            row["answer"] = draw.choice(sorted(others))
            false.add(row["id"])
    return write_rows(pool / "spoilt.jsonl", rows), false


def auc(true: list[float], false: list[float]) -> float:
    pairs = [(a > b) + 0.5 * (a == b) for a in true for b in false]
    return sum(pairs) / len(pairs)


def test_evidence_of_true_answers_exceeds_that_of_false_ones(
    spoilt: tuple[Path, set[str]], tmp_path: Path
) -> None:
    labels, false = spoilt
    found = score(labels, tmp_path / "out.jsonl", Path("billiards-home"), settings={"calibrate": "other"})
    claims: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for row in rows_of(tmp_path / "out.evidence.jsonl"):
        claims[row["id"] not in false] += [one for one in row["claims"] if "evidence" in one]
    assert len(claims[False]) >= 20
    assert len(claims[True]) >= 60
    evidence = {true: [one["evidence"] for one in some] for true, some in claims.items()}
    assert auc(evidence[True], evidence[False]) > 0.85
    assert sum(one["verdict"] == "supported" for one in claims[False]) <= 0.15 * len(claims[False])
    assert sum(one["verdict"] == "contradicted" for one in claims[True]) <= 0.05 * len(claims[True])
    assert found.null >= 50
    lines = [json.loads(line) for line in (tmp_path / "out.scores.jsonl").read_text().splitlines()]
    pairs = [one for line in lines for row in line["claims"] for one in row if one[4]]
    here = [sum(seen) - sum(blind) for seen, blind, *_ in pairs]
    elsewhere = [sum(other[0]) - sum(blind) for _, blind, _, _, other in pairs]
    assert auc(here, elsewhere) > 0.75
