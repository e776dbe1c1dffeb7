"""Judges behind a server: verdicts are kept, paid for once, told apart when missing, and never zero."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from judge_tools import answers, by_words, judge_file, judging, made_test, measure, prompt_of, right, values
from pydantic import ValidationError
from served_tools import said, serving
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import BudgetError, ConfigError, FormatError, VidaptError
from vidapt.measure.protocols.thermometer import items

FROZEN = 4


@pytest.fixture(autouse=True)
def _client() -> None:
    pytest.importorskip("openai")


def frozen(body: dict[str, Any]) -> bool:
    """Whether a question is about a frozen item."""
    return right_by(body) is not None


def right_by(body: dict[str, Any]) -> str | None:
    """The known verdict on the frozen item that a question is about; None if it is about none."""
    prompt = prompt_of(body)
    for sample, verdict in items():
        lines = (f": {json.dumps(text)}\n" for text in (sample.facts["said"], sample.answer))
        if all(line in prompt for line in lines):
            return verdict
    return None


def test_models_are_judged_compared_and_come_out_the_same_offline(tmp_path: Path) -> None:
    data, out = made_test(tmp_path), tmp_path / "out"
    models = [answers(tmp_path, "good", right()), answers(tmp_path, "bad", right(wrong=5))]
    with serving(judging) as fake:
        judge = judge_file(tmp_path, fake)
        found = measure(models, data, out, judge, "caption", "claims")
        asked = len(fake.heard)
        assert values(found, "caption") == {"good": 1.0, "bad": pytest.approx(1 / 6)}
        assert values(found, "claims", "contradicted") == {"good": 0.0, "bad": 0.0}
        assert values(found, "claims", "not mentioned")["bad"] == pytest.approx(5 / 6)
        assert all(body["temperature"] == 0 for body in fake.heard)
        assert all(body["response_format"]["type"] == "json_schema" for body in fake.heard)
        assert found.found["caption"].differences["bad"]["accuracy"].words == "worse"
        again = measure(models, data, out, judge, "caption", "claims")
        assert len(fake.heard) == asked  # neither verdicts nor frozen items are asked for again
    offline = measure(models, data, out, judge, "caption", "claims", offline=True)
    (out / "verdicts.jsonl").chmod(0o444)  # as it may have been shipped
    elsewhere = measure(
        models,
        data,
        tmp_path / "else",
        judge,
        "caption",
        "claims",
        offline=True,
        verdicts=out / "verdicts.jsonl",
    )
    told = [one.to_dict()["protocols"] for one in (found, again, offline)]
    assert told[0] == told[1] == told[2]
    assert values(elsewhere, "caption") == values(found, "caption")
    with pytest.raises(FormatError, match="holds no verdicts"):
        measure(models, data, tmp_path / "third", judge, "caption", verdicts=out / "report.html")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Whether captions agree with the reference" in page
    assert json.loads((out / "metrics.json").read_text())["judge"]["model"] == "judge"
    rows = [json.loads(line) for line in (out / "bad/claims.jsonl").read_text().splitlines()]
    assert rows[0]["shown"]["claims"] == [["A dog barks", "unmentioned"]]


def test_a_killed_job_pays_for_no_verdict_twice(tmp_path: Path) -> None:
    data, out = made_test(tmp_path), tmp_path / "out"
    model = answers(tmp_path, "good", right(wrong=2))
    with serving(judging) as fake:
        endpoint = {"price": {"input": 1, "output": 1}, "concurrency": 1}
        poor = judge_file(tmp_path, fake, endpoint=endpoint, budget={"tokens": 2600})
        with pytest.raises(BudgetError, match="the next question could go beyond it"):
            measure([model], data, out, poor, "caption")
        some = len(fake.heard)
        assert 0 < some < FROZEN + 6
        rich = judge_file(tmp_path, fake, endpoint=endpoint)
        found = measure([model], data, out, rich, "caption")
        told = [prompt_of(body) for body in fake.heard if not frozen(body)]
    assert len(told) == len(set(told)) == 6
    assert found.judge["calls"] == len(fake.heard)
    assert found.judge["money"] == pytest.approx(len(fake.heard) * 110e-6)


def test_what_was_answered_before_a_kill_is_not_asked_again(tmp_path: Path) -> None:
    data, out = made_test(tmp_path), tmp_path / "out"
    model = answers(tmp_path, "m", right(wrong=2))
    with serving(judging) as fake:
        judge = judge_file(tmp_path, fake, frozen=0)
        found = measure([model], data, out, judge, "claims")
        asked = len(fake.heard)
        lines = (out / "verdicts.jsonl").read_bytes().splitlines(keepends=True)
        # As a kill leaves it: some verdicts are not written, and one is torn.
        (out / "verdicts.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])
        (out / "metrics.json").unlink()
        again = measure([model], data, out, judge, "claims")
        assert len(fake.heard) == asked
    assert again.to_dict()["protocols"] == found.to_dict()["protocols"]
    assert again.judge["given"] == found.judge["given"] - 2  # of which one was of another kind of line


EDGES = [
    ("max_tokens", (16, 65_536), (15, 65_537)),
    ("seed", (0, 2**31 - 1), (-1, 2**31)),
    ("tries", (1, 10), (0, 11)),
    ("give_up", (1, 1000), (0, 1001)),
    ("frozen", (0, 50), (-1, 51)),
    ("drift", (0, 1), (-0.01, 1.01)),
]


@pytest.mark.parametrize(("name", "taken", "refused"), EDGES)
def test_numbers_of_a_judges_file_have_bounds(
    name: str, taken: tuple[float, ...], refused: tuple[float, ...]
) -> None:
    from vidapt.measure.protocols.settings import Judging

    for value in taken:
        Judging.model_validate({name: value})
    for value in refused:
        with pytest.raises(ValidationError, match=name):
            Judging.model_validate({name: value})


def unwell(reply: Any) -> Any:
    """A judge that is well with frozen items and the answer about clip 0."""

    def answer(body: dict[str, Any]) -> Any:
        return judging(body) if frozen(body) or "ball 0" in prompt_of(body) else reply

    return answer


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (said("I'm sorry, but I cannot judge that."), "refused", "in words"),
        (
            {"choices": [{"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}]},
            "refused",
            "refuses",
        ),
        (said("oui, c'est juste"), "invalid", "no JSON object"),
        (said('{"verdict": "oui", "score": 4}'), "invalid", "verdict"),
        (said('{"verdict": "yes", "score": 9}'), "invalid", "score"),
        (said('{"verdict": "yes"}'), "invalid", "score"),
        (said("[" * 5000), "invalid", "no JSON object"),
        ((500, {"error": {"message": "overloaded"}}), "invalid", "500"),
    ],
)
def test_a_missing_verdict_is_told_with_bounds_and_is_no_zero(
    tmp_path: Path, reply: Any, status: str, reason: str
) -> None:
    data, out = made_test(tmp_path, 3), tmp_path / "out"
    with serving(unwell(reply)) as fake:
        judge = judge_file(tmp_path, fake)
        found = measure([answers(tmp_path, "m", right(3))], data, out, judge, "caption")
        asked = [prompt_of(body) for body in fake.heard if "ball 1" in prompt_of(body)]
    numbers = found.found["caption"].models["m"]["model"].numbers
    assert f"no verdict could be read on {found.judge['missing']} of them" in list(found.remarks())[-1]
    assert found.judge["missing"] == 2
    assert (numbers.refused, numbers.invalid) == ((2, 0) if status == "refused" else (0, 2))
    figure = numbers.figures["accuracy"]
    assert figure.value is not None
    assert figure.value.value == 1.0
    assert figure.bounds == (0.0, 1.0)
    rows = [json.loads(line) for line in (out / "caption.jsonl").read_text().splitlines()]
    assert {row["status"] for row in rows} == {"valid", status}
    assert reason in rows[1]["reason"]
    assert len(asked) == (1 if reason == "500" else 3)  # what says nothing usable is asked twice more
    assert "whatever the missing verdicts are" in (out / "report.html").read_text(encoding="utf-8")
    with serving(judging) as fake:
        judge = judge_file(tmp_path, fake)
        mended = measure([answers(tmp_path, "m", right(3))], data, out, judge, "caption")
    now = mended.found["caption"].models["m"]["model"].numbers
    # No reply at all is asked for again; a reply of no use is a verdict of its kind.
    assert now.refused + now.invalid == (0 if reason == "500" else 2)


def test_what_cannot_be_read_at_first_may_be_at_last(tmp_path: Path) -> None:
    def stammering(body: dict[str, Any]) -> Any:
        return judging(body) if "Reply 2 could not be used" in prompt_of(body) or frozen(body) else said("hm")

    with serving(stammering) as fake:
        data, model = made_test(tmp_path, 2), answers(tmp_path, "m", right(2))
        found = measure([model], data, tmp_path / "out", judge_file(tmp_path, fake), "open_qa")
    assert values(found, "open_qa") == {"m": 1.0}
    assert found.judge["retried"] == 4


def test_a_judge_that_drifts_blocks_the_comparison(tmp_path: Path) -> None:
    data, out = made_test(tmp_path), tmp_path / "out"
    first, second = answers(tmp_path, "a", right()), answers(tmp_path, "b", right(wrong=4))

    def harsh(body: dict[str, Any]) -> Any:
        return said('{"verdict": "no", "score": 0}') if "the" in prompt_of(body) else judging(body)

    def knowing(body: dict[str, Any]) -> Any:
        verdict = right_by(body)
        if verdict is None:
            return judging(body)
        return said(json.dumps({"verdict": verdict, "score": 5 if verdict == "yes" else 0}))

    with serving(knowing) as fake:
        well = measure([first, second], data, out, judge_file(tmp_path, fake, frozen=50), "caption")
    assert well.found["caption"].errors == (pytest.approx(0.105, abs=0.01), pytest.approx(0.122, abs=0.01))
    third = answers(tmp_path, "c", right(wrong=3) | {"r5": "Something else."})
    with serving(harsh) as fake:
        judge = judge_file(tmp_path, fake, frozen=50)
        drifted = measure([first, second, third], data, out, judge, "caption")
    one = drifted.found["caption"]
    assert "drifted" in one.drift
    assert one.differences == {}
    assert "models are not compared" in (out / "report.html").read_text(encoding="utf-8")
    assert any("drifted" in line for line in drifted.remarks())


def test_a_persons_check_goes_out_and_comes_back(tmp_path: Path) -> None:
    texts = right(8) | {"r0": '=HYPERLINK("http://x")', "r1": "\x1b[31m<script>alert(1)</script>", "r2": ""}
    data, out, table = made_test(tmp_path, 8), tmp_path / "out", tmp_path / "check.csv"
    model = answers(tmp_path, "m", texts)
    with serving(judging) as fake:
        judge = judge_file(tmp_path, fake)
        made = measure([model], data, out, judge, "caption", check=table, check_count=100)
    assert made.to_check == 7  # nobody has to check what says nothing
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    cells = {row["answer"] for row in rows}
    assert '\'=HYPERLINK("http://x")' in cells
    assert r"\x1b[31m<script>alert(1)</script>" in cells
    assert not any("yes" in str(row.values()) for row in rows)
    same = measure([model], data, out, judge, "caption", check=table, offline=True)
    assert same.to_check
    for row in rows:
        row["human"] = (
            "Yes" if row["answer"].startswith("The red") or row["answer"].startswith("'=") else "no"
        )
    with table.open("w", encoding="utf-8", newline="") as file:
        written = csv.DictWriter(file, rows[0])
        written.writeheader()
        written.writerows(rows)
    found = measure([model], data, out, judge, "caption", check=table, offline=True)
    checked = found.found["caption"].checked["m"]
    assert checked["checked"] == 7
    assert checked["agreement"] == pytest.approx(6 / 7)
    assert 0 < checked["kappa"] < 1
    assert checked["corrected"]["value"] == pytest.approx(6 / 8)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "checked by a person" in page
    assert "<script>alert(1)" not in page
    table.write_text("key,human\nx,perhaps\n")
    with pytest.raises(FormatError, match="write yes or no"):
        measure([model], data, out, judge, "caption", check=table, offline=True)
    table.write_text("key,human\nx,yes\n")
    with pytest.raises(ConfigError, match="about other answers"):
        measure([model], data, out, judge, "caption", check=table, offline=True)


def test_what_cannot_work_is_told_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, model = made_test(tmp_path), answers(tmp_path, "m", right())
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=r"needs a judge(?s:.*)`judge: \{url: "):
        measure([model], data, out, None, "caption")
    with pytest.raises(ConfigError, match=r"none called 'captoin'(?s:.*)'caption'"):
        measure([model], data, out, None, "captoin")
    with pytest.raises(ConfigError, match="no row names a protocol"):
        measure([model], data, out, None)
    with pytest.raises(ConfigError, match="has no column `options`"):
        measure([model], data, out, None, "multiple_choice")
    bare = made_test(tmp_path, true=["x"], false=["y"])
    with pytest.raises(ConfigError, match="needs likelihoods"):
        measure([model], bare, out, None, "statement_match")
    with serving(judging) as fake:
        with pytest.raises(ConfigError, match="give two or more"):
            measure([model], data, out, judge_file(tmp_path, fake), "preference")
        monkeypatch.delenv("NO_SUCH_KEY", raising=False)
        hidden = {"extra": {"api_key": "sk-0123456789abcdefghijklmn"}}
        for more, told in (
            (
                {"protocols": {"claims": {"most": 0}}},
                r"protocols.claims.most(?s:.*)options of claims: most, prompt",
            ),
            ({"protocols": {"x": {}}}, "is no protocol"),
            ({"endpoint": hidden}, "looks like a key"),
            ({"endpoint": {"key_env": "NO_SUCH_KEY"}}, "is not set"),
            ({"tries": 0}, "tries"),
        ):
            judge = judge_file(tmp_path, fake, **more)
            with pytest.raises(ConfigError, match=told):
                measure([model], data, out, judge, "claims")
        with pytest.raises(ConfigError, match="holds no verdict of this judge"):
            measure([model], data, out, judge_file(tmp_path, fake), "caption", offline=True)
        strangers = answers(tmp_path, "strangers", {"x1": "y"})
        with pytest.raises(ConfigError, match="answers none of these questions"):
            measure([strangers], data, out / "s", judge_file(tmp_path, fake), "caption")
        assert not fake.heard


def test_a_folder_of_other_questions_is_not_added_to(tmp_path: Path) -> None:
    data, out = made_test(tmp_path), tmp_path / "out"
    model = answers(tmp_path, "m", {f"r{number}": "yes" for number in range(6)})
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for question in ("is it red?", "is it blue?"):
        for row in rows:
            row |= {"question": question, "answer": "yes"}
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        if question == "is it red?":
            measure([model], data, out, None, "pope")
    with pytest.raises(ConfigError, match="differs in: data"):
        measure([model], data, out, None, "pope")


def test_a_wrong_key_ends_the_job_and_what_was_judged_is_kept(tmp_path: Path) -> None:
    data, out = made_test(tmp_path), tmp_path / "out"
    model = answers(tmp_path, "m", right())

    def closed(body: dict[str, Any]) -> Any:
        return judging(body) if frozen(body) else (401, {"error": {"message": "no such key"}})

    with serving(closed) as fake, pytest.raises(VidaptError, match="401"):
        measure([model], data, out, judge_file(tmp_path, fake), "caption")
    with serving(judging) as fake:
        measure([model], data, out, judge_file(tmp_path, fake), "caption")
        assert len(fake.heard) == 6 + FROZEN  # the reading is taken each time that verdicts are due


def test_rows_may_name_their_protocol_and_the_command_tells_all(tmp_path: Path) -> None:
    data = made_test(tmp_path, protocol="pope", objects=["ball", "cue"])
    lines = [json.loads(line) for line in data.read_text().splitlines()]
    for number, row in enumerate(lines):
        row["objects"] = ["ball", f"thing {number % 3}"]
        del row["answer"]
    data.write_text("".join(json.dumps(row) + "\n" for row in lines))
    from vidapt.measure.protocols.plan import plan_protocols
    from vidapt.measure.protocols.rows import names_protocols, read_test

    assert names_protocols(data)
    asked = plan_protocols(read_test(data), (), {}).samples
    model = answers(tmp_path, "yes", {sample.id: "yes" for sample in asked})
    args = ["eval", str(model), "--data", str(data), "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["protocols"]["pope"]["models"]["yes"]["model"]
    assert told["measures"]["recall"]["value"]["value"] == 1
    assert told["measures"]["accuracy"]["value"]["value"] == 0.5
    assert set(told["kinds"]) == {"adversarial", "popular", "random"}
    plain = CliRunner().invoke(app, args[:-1])
    assert "said yes" in plain.output
    bad = CliRunner().invoke(app, [*args[:-1], "--controls", "blnd"])
    assert bad.exit_code == 2
    assert "did you mean 'blind'?" in bad.output


def test_columns_may_have_the_names_that_others_gave_them(tmp_path: Path) -> None:
    from vidapt.measure.protocols.rows import read_test

    data = made_test(tmp_path)
    data.write_text(
        json.dumps([{"video_name": "0", "Q": "which?", "candidates": ["red", "blue"], "answer": 1, "fps": 2}])
    )
    (sample,) = read_test(data)
    assert (sample.question, sample.facts["candidates"]) == ("which?", ["red", "blue"])
    assert sample.facts["answer_index"] == 1
    assert sample.media[0].path.name == "0.mp4"
    data.write_text('[{"Q": "which?"}]')
    with pytest.raises(FormatError):
        read_test(data)
    data.write_text('[{"video_name": "0", "Q": "a"}, {"Q": "b"}]')
    with pytest.raises(FormatError, match="names no footage"):
        read_test(data)
    data.write_text('[{"video_name": "77", "Q": "a"}]')
    with pytest.raises(FormatError, match="77"):
        read_test(data)


def test_two_orders_are_asked_of_two_models(tmp_path: Path) -> None:
    data, out = made_test(tmp_path), tmp_path / "out"
    models = [answers(tmp_path, "a", right(wrong=3)), answers(tmp_path, "b", right())]
    with serving(judging) as fake:
        found = measure(models, data, out, judge_file(tmp_path, fake), "preference")
    assert values(found, "preference", "wins") == {"b": 0.5}
    assert values(found, "preference", "ties") == {"b": 0.5}

    def first(body: dict[str, Any]) -> Any:
        return said('{"better": "1"}') if not frozen(body) else said(by_words(body))

    with serving(first) as fake:
        biased = measure(models, data, tmp_path / "other", judge_file(tmp_path, fake), "preference")
    assert values(biased, "preference", "changed with the order") == {"b": 0.5}
    assert values(biased, "preference", "wins") == {"b": 0.0}
