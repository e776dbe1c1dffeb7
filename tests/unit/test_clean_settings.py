"""Settings and decisions that are wrong are refused with their lines; kappa; what decisions do."""

from __future__ import annotations

from pathlib import Path

import pytest
from clean_tools import row, rows_of, run, write_rows

from vidapt.cleaning.job import Cleaned, Source, clean
from vidapt.cleaning.settings import CHECKS, read_cleaning
from vidapt.errors import ConfigError
from vidapt.metrics.kappa import cohen_kappa
from vidapt.parts import kinds

REFUSED = "I'm sorry, but I can't help with that."


def refused(path: Path, text: str, *overrides: str, **which: list[str]) -> str:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_cleaning(path, overrides, **which)
    return str(caught.value)


def test_the_shipped_settings_name_every_check_with_its_defaults() -> None:
    shipped = read_cleaning()
    # One needs a file that only its user has.
    assert sorted([*shipped.checks, "invisible"]) == kinds(CHECKS)
    for name, cfg in shipped.checks.items():
        assert cfg == type(cfg)(), name


def test_all_mistakes_are_told_with_their_lines(tmp_path: Path) -> None:
    text = "checks:\n  refusl: {}\n  length: {times: 1.0, hihg: 1}\n  loop: 3\n"
    said = refused(tmp_path / "clean.yaml", text)
    assert "4 mistake(s)" in said
    assert "line 2: checks.refusl: no part is called 'refusl'; did you mean 'refusal'?" in said
    assert "line 3: checks.length.times: Input should be greater than or equal to 1.2 (found 1.0)" in said
    assert "line 3: checks.length.hihg: unknown key; did you mean 'high'?" in said
    assert "line 4: checks.loop: options are a mapping" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("checks: {length: {low: 0, high: 1}}", "drops nothing; leave the check out"),
        ("checks: {blind: {above: 0.5, to: 0.6}}", "`to` is 0.6, more than `above`, which is 0.5"),
        ("check: {refusal: {}}", "'check' is an unknown key"),
        ("checks: [refusal]", "`checks` is no mapping"),
        ("checks: {}", "no check is left"),
        ("- refusal", "holds no settings"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path / "clean.yaml", text)


def test_checks_are_chosen_and_changed(tmp_path: Path) -> None:
    file = tmp_path / "clean.yaml"
    file.write_text("checks:\n  loop: {gram: 5}\n  refusal:\n")
    assert list(read_cleaning(file).checks) == ["loop", "refusal"]
    assert list(read_cleaning(file, only=["length", "loop"]).checks) == ["loop", "length"]
    assert list(read_cleaning(file, without=["loop"]).checks) == ["refusal"]
    changed = read_cleaning(file, ["checks.loop.gram=6"])
    assert changed.checks["loop"].model_dump()["gram"] == 6
    assert changed.hash != read_cleaning(file).hash == read_cleaning(file, ["checks.loop.gram=5"]).hash
    assert "there is no check 'lop'\n  -> did you mean 'loop'?" in refused(
        file, "checks: {loop: }", only=["lop"]
    )
    assert "--without" in refused(file, "checks: {loop: }", without=["x"])


def test_kappa_by_hand() -> None:
    # Of 50 things: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no. Seen .7, by chance .5 * .6 + .5 * .4 = .5.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    assert cohen_kappa([("y", "y"), ("n", "n")]) == 1
    assert cohen_kappa([("y", "n"), ("n", "y")]) == -1
    assert cohen_kappa([("y", "y")] * 3) is None
    assert cohen_kappa([]) is None


def decided(tmp_path: Path) -> Cleaned:
    rows = [row(f"good{n}", f"The ball number {n} rolls.") for n in range(6)]
    rows += [row(f"bad{n}", REFUSED) for n in range(4)]
    labels = write_rows(tmp_path / "labels.jsonl", rows)
    decisions = [
        {"id": "good0", "verdict": "keep", "by": "ann"},
        {"id": "good1", "verdict": "drop", "reason": "blurred"},
        {"id": "good2", "verdict": "drop"},
        {"id": "good2", "verdict": "rewrite", "text": "The cue ball rolls."},
        {"id": "bad0", "verdict": "keep"},
        {"id": "bad1", "verdict": "drop"},
        {"id": "gone", "verdict": "drop"},
    ]
    file = write_rows(tmp_path / "decisions.jsonl", decisions)
    return run(labels, tmp_path / "clean.jsonl", only=["refusal"], decisions=file)


def test_decisions_of_a_person_are_honoured_and_held_against_the_checks(tmp_path: Path) -> None:
    found = decided(tmp_path).summary
    kept = {one["id"]: one["answer"] for one in rows_of(tmp_path / "clean.jsonl")}
    assert list(kept) == ["good0", "good2", "good3", "good4", "good5", "bad0"]
    assert kept["good2"] == "The cue ball rolls."
    assert kept["bad0"] == REFUSED
    rejected = {one["id"]: one for one in rows_of(tmp_path / "clean.rejected.jsonl")}
    assert {key: one["check"] for key, one in rejected.items()} == {
        "good1": "person",
        "good2": "person",
        "bad1": "person",
        "bad2": "refusal",
        "bad3": "refusal",
    }
    assert rejected["good1"]["reason"] == "blurred"
    assert rejected["good2"]["now"]["answer"] == "The cue ball rolls."
    assert (found.checks["person"].dropped, found.checks["person"].rewritten) == (2, 1)
    agreed = found.agreement
    assert agreed is not None
    assert (agreed.decided, agreed.unknown) == (5, 1)
    assert agreed.table == {"keep/keep": 1, "keep/not": 1, "not/keep": 2, "not/not": 1}
    # Seen 2/5; by chance 2/5 * 3/5 + 3/5 * 2/5 = 12/25.
    assert agreed.kappa == pytest.approx((2 / 5 - 12 / 25) / (1 - 12 / 25), abs=1e-4)
    assert agreed.checks == {"refusal": (2, 1)}


def test_what_a_person_kept_still_counts_for_the_rows_that_are_like_it(tmp_path: Path) -> None:
    """Each of three rows of a clip says the same: one is kept, and who confirms it gets no second one."""
    rows = [row(name, "It rolls.", video="clip.mp4") for name in ("a", "b", "c")]
    labels = write_rows(tmp_path / "labels.jsonl", rows)
    run(labels, tmp_path / "clean.jsonl", only=["near_duplicate"])
    (kept,) = rows_of(tmp_path / "clean.jsonl")
    confirmed = write_rows(tmp_path / "decisions.jsonl", [{"id": kept["id"], "verdict": "keep"}])
    run(labels, tmp_path / "again.jsonl", only=["near_duplicate"], decisions=confirmed)
    assert rows_of(tmp_path / "again.jsonl") == [kept]
    other = next(one["id"] for one in rows if one["id"] != kept["id"])
    added = write_rows(tmp_path / "decisions.jsonl", [{"id": other, "verdict": "keep"}])
    run(labels, tmp_path / "other.jsonl", only=["near_duplicate"], decisions=added)
    assert {kept["id"], other} == {one["id"] for one in rows_of(tmp_path / "other.jsonl")}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "is no JSON"),
        ("[]", "is no decision"),
        ('{"id": "a"}', "verdict: Field required"),
        (
            '{"id": "a", "verdict": "maybe"}',
            "verdict: Input should be 'keep', 'rewrite', 'drop' or 'undecided'",
        ),
        ('{"id": "a", "verdict": "rewrite"}', "`text` belongs to `rewrite`"),
        ('{"id": "a", "verdict": "keep", "text": "x"}', "`text` belongs to `rewrite`"),
        ('{"id": "a", "verdict": "keep", "txt": "x"}', "txt: Extra inputs"),
    ],
)
def test_lines_that_decide_nothing_are_refused(tmp_path: Path, line: str, said: str) -> None:
    labels = write_rows(tmp_path / "labels.jsonl", [row("a", "red")])
    file = write_rows(tmp_path / "decisions.jsonl", ['{"id": "a", "verdict": "keep"}', line])
    with pytest.raises(ConfigError, match=r"decisions\.jsonl:2") as caught:
        run(labels, tmp_path / "clean.jsonl", decisions=file)
    assert said in str(caught.value)
    assert not (tmp_path / "clean.jsonl").exists()


def test_nothing_that_is_read_is_written_over(tmp_path: Path) -> None:
    labels = write_rows(tmp_path / "labels.jsonl", [row("a", "red")])
    link = tmp_path / "link.jsonl"
    link.symlink_to(labels)
    for out in (labels, link):
        with pytest.raises(ConfigError, match="would be written over"):
            run(labels, out)
    decisions = write_rows(tmp_path / "x.rejected.jsonl", [{"id": "a", "verdict": "keep"}])
    with pytest.raises(ConfigError, match="would be written over"):
        run(labels, tmp_path / "x.jsonl", decisions=decisions)
    with pytest.raises(ConfigError, match=r"NAME\.jsonl"):
        clean(Source([labels]), tmp_path / "x.json", read_cleaning())
    assert rows_of(labels) == [row("a", "red")]
