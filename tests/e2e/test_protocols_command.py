"""Protocols with a real (tiny, random) model on simulated clips: questions, likelihoods, controls, kills."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from caption_tools import save_tiny_model
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.measure.command import ALL_CONTROLS, Asking
from vidapt.measure.protocols.measured import Measured
from vidapt.measure.protocols.run import Wanted, evaluate_protocols
from vidapt.measure.protocols.scoring import _Scorer
from vidapt.worlds.billiards import simulate

CLIPS = 4
ASKED = ("multiple_choice", "pope", "fact_pairs", "chair", "dense_events")
SCORED = ("option_likelihood", "statement_match", "length_trap", "retrieval")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, clips of which one is empty, and a test with the columns of many protocols."""
    folder = tmp_path_factory.mktemp("made")
    save_tiny_model(folder / "model")
    simulate(folder / "pool", clips=CLIPS, venue="club", seed=3, workers=1)
    (folder / "pool/clips/000002.mp4").write_bytes(b"")
    rows: list[dict[str, Any]] = []
    for number in range(CLIPS):
        clip = f"pool/clips/{number:06d}.mp4"
        rows += [
            {
                "id": f"q{number}",
                "video": clip,
                "question": "which ball falls?",
                "options": ["red", "blue", "black"],
                "answer": "A",
                "protocol": ["multiple_choice", "option_likelihood"],
            },
            {
                "id": f"c{number}",
                "video": clip,
                "question": "what happens?",
                "answer": f"the red ball number {number} falls",
                "objects": ["red ball", f"thing {number % 2}"],
                "events": [{"start": 0.5, "end": 1.5, "text": "the ball falls"}],
                "false": ["the blue ball falls", "the red ball rolls on and on and does not fall at all"],
                "protocol": ["pope", "chair", "dense_events", "statement_match", "length_trap", "retrieval"],
            },
            {
                "id": f"y{number}",
                "video": clip,
                "question": "does a ball fall?",
                "answer": "yes",
                "pair": f"p{number}",
                "protocol": "fact_pairs",
            },
            {
                "id": f"n{number}",
                "video": clip,
                "question": "does a dog bark?",
                "answer": "no",
                "pair": f"p{number}",
                "protocol": "fact_pairs",
            },
        ]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def measure(made: Path, out: Path, *kinds: str) -> Measured:
    asking = Asking(made / "test.jsonl", controls=ALL_CONTROLS, workers=0, max_tokens=4)
    return evaluate_protocols([made / "model"], asking, Wanted(kinds), out)


def test_every_protocol_without_a_judge_runs_with_its_controls(made: Path, tmp_path: Path) -> None:
    found = measure(made, tmp_path)
    assert set(found.found) == {*ASKED, *SCORED}
    for kind in ASKED:
        assert set(found.found[kind].models["model"]) == {"model", *ALL_CONTROLS}
    for kind in SCORED:
        assert set(found.found[kind].models["model"]) == {"model", "blind", "other_clip"}
    for one in found.found.values():
        assert one.left_out["model"] > 0  # of the empty clip
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert told["protocols"]["multiple_choice"]["models"]["model"]["model"]["cases"] == CLIPS - 1
    assert told["protocols"]["chair"]["models"]["model"]["model"]["length"]["words"]["value"]["value"] >= 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for words in ("shuffled frames", "one frame", "another clip", "gained by looking", "as published"):
        assert words in page
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()[1:]]
    assert any(row["predictions"]["model"] != row["predictions"]["shuffled_frames"] for row in rows)
    assert any(row["predictions"]["shuffled_frames"] != row["predictions"]["one_frame"] for row in rows)
    kept = (tmp_path / "scores.jsonl").read_bytes()
    again = measure(made, tmp_path)
    assert again.to_dict()["protocols"] == found.to_dict()["protocols"]
    assert (tmp_path / "scores.jsonl").read_bytes() == kept


def test_killed_while_it_scores_it_ends_with_the_same_numbers(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure(made, tmp_path / "whole", "statement_match")
    score, calls = _Scorer._score, 0

    def killed(self: Any, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        score(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(_Scorer, "_score", killed)
        with pytest.raises(KeyboardInterrupt):
            measure(made, tmp_path / "killed", "statement_match")
    some = (tmp_path / "killed/scores.jsonl").read_bytes()
    assert some
    found = measure(made, tmp_path / "killed", "statement_match")
    assert found.to_dict()["protocols"] == whole.to_dict()["protocols"]
    assert (tmp_path / "killed/scores.jsonl").read_bytes().startswith(some)


def test_answers_that_were_measured_once_are_measured_again_with_their_controls(
    made: Path, tmp_path: Path
) -> None:
    kinds = ("multiple_choice", "pope")
    first = measure(made, tmp_path / "first", *kinds)
    asking = Asking(made / "test.jsonl", workers=0)
    again = evaluate_protocols(
        [tmp_path / "first/predictions.jsonl"], asking, Wanted(kinds), tmp_path / "again"
    )
    for kind in kinds:
        old, new = first.found[kind].models["model"], again.found[kind].models["predictions"]
        assert {arm: one.numbers for arm, one in new.items() if arm != "model"}.keys() == {*ALL_CONTROLS}
        shared = {one.case for one in old["blind"].scored}
        for arm, one in old.items():
            given = {other.case: other.terms for other in new[arm].scored}
            assert {each.case: each.terms for each in one.scored} == {case: given[case] for case in shared}


def test_the_command_says_what_a_protocol_needs(made: Path, tmp_path: Path) -> None:
    args = ["eval", str(made / "model"), "--data", str(made / "test.jsonl"), "--out", str(tmp_path / "x")]
    result = CliRunner().invoke(app, [*args, "--protocol", "caption"])
    assert result.exit_code == 2
    assert "no row is for it" in result.output
    with (made / "test.jsonl").open(encoding="utf-8") as file:
        row = json.loads(file.readline())
    del row["protocol"]
    (made / "plain.jsonl").write_text(json.dumps(row) + "\n")
    args[3] = str(made / "plain.jsonl")
    result = CliRunner().invoke(app, [*args, "--protocol", "caption"])
    assert result.exit_code == 2
    assert "needs a judge" in result.output


def test_a_model_of_ones_own_may_judge_although_it_says_nothing_of_use(made: Path, tmp_path: Path) -> None:
    rows = [
        {"id": name, "video": "pool/clips/000000.mp4", "question": f"what is {name}?", "answer": "a ball"}
        for name in "xy"
    ]
    data, models = made / "judged.jsonl", [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for model in models:
        model.write_text("".join(json.dumps({"id": name, "prediction": "a cue"}) + "\n" for name in "xy"))
    (made / "judge.yaml").write_text("judge: {kind: local, model: model}\nmax_tokens: 16\nfrozen: 0\n")
    wanted = Wanted(("caption",), made / "judge.yaml")
    found = evaluate_protocols(models, Asking(data, workers=0), wanted, tmp_path / "out")
    one = found.found["caption"]
    assert one.rows()[0][3:] == ["-", "-"]
    assert one.differences["b"]["accuracy"].words == "no verdicts"
    numbers = one.models["a"]["model"].numbers
    assert (numbers.invalid, numbers.figures["accuracy"].bounds) == (2, (0.0, 1.0))
    offline = Wanted(("caption",), made / "judge.yaml", offline=True)
    same = evaluate_protocols(models, Asking(data, workers=0), offline, tmp_path / "out")
    assert same.to_dict()["protocols"] == found.to_dict()["protocols"]
