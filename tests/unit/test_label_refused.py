"""Teachers who do not do what they are asked for, prices that nobody said, clips that are gone: all told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from clean_tools import row, write_rows
from clean_tools import run as clean
from label_tools import beside, film_all, label, lines, provenance, recipe, teacher, usage
from served_tools import Answering, said, serving
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError, VidaptError
from vidapt.labelling.refusals import refusal

REFUSED = "I'm sorry, but I can't assist with that request."
CLIPS = 12


def in_words(body: dict[str, Any]) -> Any:
    return said(REFUSED, **usage())


def by_filter(body: dict[str, Any]) -> Any:
    found = said("", **usage())
    found["choices"][0]["finish_reason"] = "content_filter"
    return found


@pytest.mark.parametrize(
    ("answer", "mode", "told", "each"),
    [
        (in_words, "caption", 'it refuses: "i\'m sorry but i"', 1),
        (by_filter, "caption", "it refuses: content_filter", 1),
        (in_words, "facts", "cannot be used", 2),
    ],
)
def test_who_always_refuses_is_not_asked_about_every_clip(
    answer: Answering, mode: str, told: str, each: int, tmp_path: Path
) -> None:
    clips, out = film_all(tmp_path / "clips", CLIPS), tmp_path / "labels.jsonl"
    with serving(answer) as fake:
        settled = recipe(fake, mode, endpoint={"concurrency": 1}, give_up_clips=4)
        with pytest.raises(VidaptError, match="nothing of use about 4 clips in a row") as found:
            label(settled, clips, out)
        assert told in str(found.value)
        assert "goes on behind these clips" in str(found.value)
        assert len(fake.heard) == 4 * each
        # What was paid is not paid again, and does not keep the job from the others.
        with pytest.raises(VidaptError, match="4 clips in a row"):
            label(settled, clips, out)
        assert len({json.dumps(body) for body in fake.heard}) == len(fake.heard) > 4 * each
        patient = recipe(fake, mode, endpoint={"concurrency": 1}, give_up_clips=100)
        summary = label(patient, clips, out)
        assert summary.labelled + summary.kept + summary.broken == CLIPS


def test_some_refusals_end_nothing(tmp_path: Path) -> None:
    clips, out, asked = film_all(tmp_path / "clips", CLIPS), tmp_path / "labels.jsonl", [0]

    def mostly(body: dict[str, Any]) -> Any:
        asked[0] += 1
        return in_words(body) if asked[0] % 4 else teacher(body)

    with serving(mostly) as fake:
        summary = label(recipe(fake, endpoint={"concurrency": 1}, give_up_clips=4), clips, out)
    assert summary.labelled == CLIPS


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "Invalid content type. image_url is only supported by certain models."),
        (400, "At most 0 image(s) may be provided in one prompt."),
        (400, "tiny is not a multimodal model"),
        (422, "messages[0]: unknown variant `image_url`, expected `text`"),
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
        (500, "this model is missing data required for image input"),
        (404, "No endpoints found that do not support image input"),
    ],
)
def test_a_server_without_eyes_is_asked_once(status: int, text: str, tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 3)
    with serving(lambda body: (status, {"error": {"message": text}})) as fake:
        with pytest.raises(VidaptError, match="name a model that sees pictures"):
            label(recipe(fake, endpoint={"concurrency": 1}), clips, tmp_path / "labels.jsonl")
        assert len(fake.heard) == 1


def test_too_many_pictures_are_told_with_what_makes_them_fewer(tmp_path: Path) -> None:
    text = "At most 2 image(s) may be provided in one prompt."
    with serving(lambda body: (400, {"error": {"message": text}})) as fake:
        settled = recipe(fake, endpoint={"concurrency": 1}, give_up=1)
        with pytest.raises(VidaptError, match=r"`frames\.cap`"):
            label(settled, film_all(tmp_path / "clips", 1), tmp_path / "labels.jsonl")


def run(*words: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [*map(str, words)])
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


def test_a_cost_that_nobody_priced_is_unknown(tmp_path: Path) -> None:
    clips, out = film_all(tmp_path / "clips", 2), tmp_path / "labels.jsonl"
    with serving(teacher) as fake:
        own = (
            "label",
            clips,
            "--teacher",
            fake.url,
            "--served",
            "any",
            "--mode",
            "caption",
            "--workers",
            "0",
        )
        status, found, told = run(*own, "--out", out, "--dry-run")
        assert (status, "unknown" in found, "--price IN,OUT" in told) == (0, True, True)
        assert json.loads(run(*own, "--out", out, "--dry-run", "--json")[1])["most"]["money"] is None
        status, found, told = run(*own, "--out", out)
        assert (status, "cost unknown" in found, "--price IN,OUT" in told) == (0, True, True)
        summary = json.loads(run(*own, "--out", out, "--json")[1])
        assert (summary["money"], summary["per_clip"], summary["tokens"]) == (None, None, 240)
        assert {call["money"] for one in provenance(out) for call in one["calls"]} == {None}
        other = ("--out", tmp_path / "priced.jsonl", "--price", "1,10", "--max-cost", "1", "--json")
        assert json.loads(run(*own, *other)[1])["money"] == pytest.approx(2 * (100 + 200) / 1e6)
        assert "is no pair of numbers" in run(*own, "--price", "1")[2]
        assert "is needed with --price" in run("label", clips, "--price", "1,10")[2]


def test_decisions_about_other_labels_are_refused(tmp_path: Path) -> None:
    labels = write_rows(tmp_path / "labels.jsonl", [row(name, "A ball rolls.") for name in "ab"])
    some = write_rows(tmp_path / "some.jsonl", [{"id": name, "verdict": "keep"} for name in ("a", "z")])
    other = write_rows(tmp_path / "other.jsonl", [{"id": name, "verdict": "keep"} for name in "xyz"])
    out = tmp_path / "clean.jsonl"
    with pytest.raises(ConfigError, match="none of its 3 decisions is about these labels"):
        clean(labels, out, decisions=other)
    assert not out.exists()
    status, _, told = run("clean", labels, "--decisions", some, "--out", out)
    assert status == 0
    assert "1 decisions are about rows that are not there" in told


def test_labels_of_clips_that_are_gone_are_kept_and_told(tmp_path: Path) -> None:
    clips, out = film_all(tmp_path / "clips", 3), tmp_path / "labels.jsonl"
    with serving(teacher) as fake:
        settled = recipe(fake)
        label(settled, clips, out)
        (clips / "1.mp4").unlink()
        summary = label(settled, clips, out)
        assert (summary.vanished, summary.kept, summary.labelled) == (1, 3, 0)
        assert len(fake.heard) == len(lines(out)) == 3
        rejected = [{"again": True, "row": {"id": "1.mp4", "answer": lines(out)[1]["answer"]}}]
        write_rows(tmp_path / "rejected.jsonl", rejected)
        with pytest.raises(ConfigError, match="of these labels"):
            label(settled, clips, out, again=tmp_path / "rejected.jsonl")
        assert not beside(out, "partial").exists()


def test_phrases_are_looked_for_where_sentences_begin() -> None:
    assert refusal(REFUSED) == "i'm sorry but i"
    assert refusal('The man says, "I can\'t help you," and leaves.') is None
    assert refusal("I would rather not.", ("i would rather not",), shipped=False) == "i would rather not"
    assert refusal(REFUSED, shipped=False) is None
