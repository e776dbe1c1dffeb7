"""What is seen of clips for probes is seen once, whatever stops the job; what teachers stated is of types."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from label_tools import film, film_all, label, provenance, recipe, teacher
from served_tools import serving

import vidapt
from vidapt.errors import ConfigError
from vidapt.inference.engine import Engine
from vidapt.nouns import Clip
from vidapt.probing import seen as seeing
from vidapt.probing.facts import stated_facts, stated_type
from vidapt.probing.seen import Answers, opened, see_all
from vidapt.teaching.rows import LabelRow

ASKED = ("which ball is hit first?", "how many balls are there?")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return vidapt.load("billiards-home")


def clips_in(folder: Path, count: int) -> list[Clip]:
    return [Clip(f"{n}", film(folder / f"{n}.mp4", n)) for n in range(count)]


class Stopped(Exception):  # noqa: N818 - a kill
    """A kill."""


def test_a_job_that_is_stopped_sees_only_its_last_portion_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeing, "AT_ONCE", 3)
    looked: list[str] = []
    asked: list[Sequence[str]] = []
    through, answer = engine.look_through, engine.answer

    def look_through(clip: Clip, *rest: Any) -> Any:
        looked.append(clip.id)
        return through(clip, *rest)

    def answering(groups: Any, decoding: Any) -> Any:
        asked.append(groups[0][1])
        return answer(groups, decoding)

    monkeypatch.setattr(engine, "look_through", look_through)
    monkeypatch.setattr(engine, "answer", answering)
    questions = {clip: list(ASKED) for clip in clips_in(tmp_path / "clips", 7)}

    def stop(task: str, done: int, total: int, note: str = "") -> None:
        if done == 5:
            raise Stopped

    def run(report: Any) -> dict[Clip, dict[str, torch.Tensor]]:
        with Answers(tmp_path / "answers.jsonl", engine.fingerprint) as answers:
            sight = opened(engine, tmp_path / "features", 16, answers)
            assert see_all(engine, sight, questions, 16, workers=0, report=report) == {}
            assert all(sight.answer(clip, one) is not None for clip in questions for one in ASKED)
            return {
                clip: {name: row.x.clone() for name, row in sight.places(clip).items()} for clip in questions
            }

    with pytest.raises(Stopped):
        run(stop)
    assert len(looked) == len(asked) == 5
    first = run(lambda *_: None)
    assert looked[5:] == ["3", "4", "5", "6"], "three were written down"
    assert len(asked) == 7, "no answer is asked for twice"
    again = run(lambda *_: None)
    assert len(looked) == 9
    assert all(torch.equal(first[clip][name], again[clip][name]) for clip in first for name in first[clip])

    (shard, *_) = sorted((tmp_path / "features").glob("probe-*/*.safetensors"))
    spoilt = bytearray(shard.read_bytes())
    spoilt[-3] ^= 0xFF
    shard.write_bytes(bytes(spoilt))
    mended = run(lambda *_: None)
    assert 9 < len(looked) <= 9 + 4, "what is damaged is seen anew"
    assert all(torch.equal(first[clip][name], mended[clip][name]) for clip in first for name in first[clip])


def test_broken_clips_are_told_and_none_at_all_is_an_error(engine: Engine, tmp_path: Path) -> None:
    (sound,) = clips_in(tmp_path / "clips", 1)
    bad = Clip("bad", tmp_path / "clips" / "bad.mp4")
    bad.path.write_bytes(b"no video")
    gone = Clip("gone", tmp_path / "clips" / "gone.mp4")
    sight = opened(engine, tmp_path / "features", 16, None)
    found = see_all(engine, sight, {sound: [], bad: [], gone: []}, 16, workers=0)
    assert set(found) == {bad, gone}
    assert sight.answer(sound, ASKED[0]) is None
    with pytest.raises(ConfigError, match=r"none can be used; the first, .*bad\.mp4"):
        see_all(engine, sight, {bad: []}, 16, workers=0)


def test_a_question_that_cannot_be_read_costs_itself_and_is_not_asked_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "which ball is hit first? " * 500
    questions = {clip: [*ASKED, long] for clip in clips_in(tmp_path / "clips", 2)}
    calls = [0]
    answer = engine.answer

    def counting(*given: Any) -> Any:
        calls[0] += 1
        return answer(*given)

    monkeypatch.setattr(engine, "answer", counting)
    for _ in range(2):
        with Answers(tmp_path / "answers.jsonl", engine.fingerprint) as answers:
            sight = opened(engine, tmp_path / "features", 16, answers)
            assert see_all(engine, sight, questions, 16, workers=0) == {}
            for clip in questions:
                assert all(sight.answer(clip, one) and sight.unread(clip, one) is None for one in ASKED)
                assert sight.answer(clip, long) is None
                assert "2048" in (sight.unread(clip, long) or "")
        assert calls == [8], "all together, then each alone"


def test_what_teachers_stated_is_of_types(tmp_path: Path) -> None:
    clips, out = film_all(tmp_path / "clips", 3), tmp_path / "labels.jsonl"
    with serving(teacher) as fake:
        label(recipe(fake, "facts"), clips, out)
    rows = provenance(out)
    for row in rows:
        assert {stated_type(fact) for fact in row["facts"]} == {"red ball hits …", "green ball rolls into …"}
    rows[0]["facts"].append(rows[0]["facts"][0] | {"object": "nothing"})
    rows[1]["facts"][1]["object"] = "The RIGHT pocket."
    rows[2]["facts"][0]["subject"] = " "
    facts = {fact.type: fact for fact in stated_facts(LabelRow(**row) for row in rows)}
    assert set(facts) == {"red ball hits …", "green ball rolls into …"}
    rolls = facts["green ball rolls into …"]
    assert [one.answer for one in rolls.examples] == [
        "the left pocket",
        "the right pocket",
        "the left pocket",
    ]
    assert [one.id for one in facts["red ball hits …"].examples] == ["1.mp4"], "two objects are no answer"
    assert {one.question for fact in facts.values() for one in fact.examples} == {""}
    assert rolls.examples[0].clip.path == (clips / "0.mp4").resolve()
