"""A simulator's state by clip, which question each visit takes, and what is written down of broken clips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from training_tools import PROMPT, tokenizer

from vidapt.errors import ConfigError, FormatError
from vidapt.nouns import Clip, Sample, Turn
from vidapt.recipe import Batching, DataSource
from vidapt.training import quarantine
from vidapt.training.data import ClipSamples, group_by_clip, read_samples
from vidapt.training.order import Order, Visit
from vidapt.training.truth import read_truth


def asked(path: Path, answers: int = 1) -> ClipSamples:
    media = (Clip(path.stem, path),)
    turns = (Turn("user", "what?"), Turn("assistant", "that"))
    return ClipSamples(media, (Sample(path.stem, media, turns),) * answers, ())


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Five rows of truth beside a folder of clips."""
    table = {"x": torch.arange(10.0).reshape(5, 2), "hits": torch.arange(5)}
    save_file(table, tmp_path / "truth.safetensors")
    return tmp_path / "clips"


def test_rows_of_truth_are_found_by_the_clips_names(world: Path) -> None:
    clips = [asked(world / name) for name in ("0003.mp4", "00.mp4", "3.mp4")]
    found = read_truth(clips, ["x", "hits"])
    assert found["x"].tolist() == [[6.0, 7.0], [0.0, 1.0], [6.0, 7.0]]
    assert found["hits"].tolist() == [3, 0, 3]


def test_truth_that_is_not_asked_for_need_not_be_there(tmp_path: Path) -> None:
    clips = [asked(tmp_path / "clips" / "a.mp4")]
    assert read_truth(clips, []) == {}
    with pytest.raises(ConfigError, match=r"truth\.safetensors: is missing"):
        read_truth(clips, ["x"])


def test_a_column_or_a_number_that_is_missing_is_named(world: Path) -> None:
    with pytest.raises(ConfigError, match=r"lacks the columns \['y', 'z'\]"):
        read_truth([asked(world / "0.mp4")], ["y", "x", "z"])
    with pytest.raises(ConfigError, match=r"first\.mp4: is not named by its number"):
        read_truth([asked(world / "0.mp4"), asked(world / "first.mp4")], ["x"])


def test_a_visit_takes_so_many_questions_others_each_time_and_in_their_order() -> None:
    order = Order([asked(Path("a"), 6), asked(Path("b"), 2)], Batching(clips=2, questions=3), (0, 0))
    taken: set[tuple[int, ...]] = set()
    for epoch in range(30):
        visits = {visit.clip: visit.samples for visit in order.step(epoch)}
        assert visits[1] == (0, 1)
        assert len(set(visits[0])) == 3
        assert list(visits[0]) == sorted(visits[0])
        taken.add(visits[0])
    assert len(taken) > 10
    assert {index for samples in taken for index in samples} == set(range(6))


def test_without_a_limit_a_visit_takes_all() -> None:
    order = Order([asked(Path("a"), 6)], Batching(clips=2), (0, 0))
    assert order.step(0) == [Visit(0, (0, 1, 2, 3, 4, 5))]


def test_a_clip_none_of_whose_questions_is_drawn_is_asked_any_one() -> None:
    order = Order([asked(Path("a"), 4)], Batching(clips=1, share={"None": 0.0}), (0, 0))
    taken = [order.step(epoch)[0].samples for epoch in range(40)]
    assert {len(samples) for samples in taken} == {1}
    assert {samples[0] for samples in taken} == {0, 1, 2, 3}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rows = [
        {"video": f"{clip}.mp4", "question": f"{kind}?", "answer": "yes", "facts": {"type": kind}}
        for clip in range(4)
        for kind in ("colour", "count")
    ]
    for clip in range(4):
        (tmp_path / f"{clip}.mp4").touch()
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("skip", "limit", "types", "wanted"),
    [
        (0, None, None, ["0", "0", "1", "1", "2", "2", "3", "3"]),
        (1, 2, None, ["1", "1", "2", "2"]),
        (3, 9, None, ["3", "3"]),
        (0, 2, ("count",), ["0", "1"]),
        (2, None, ("count", "colour"), ["2", "2", "3", "3"]),
    ],
)
def test_a_source_gives_so_many_clips_of_the_types_asked_for(
    labels: Path, skip: int, limit: int | None, types: tuple[str, ...] | None, wanted: list[str]
) -> None:
    source = DataSource(path=labels, skip=skip, limit=limit, types=types)
    found = read_samples([source, source])
    assert [sample.media[0].path.stem for sample in found] == wanted * 2
    with pytest.raises(ConfigError, match="no sample that the filters let through"):
        read_samples([source, DataSource(path=labels, skip=4)])


def test_an_answer_as_long_as_is_allowed_is_learned() -> None:
    media = (Clip("a", Path("a")),)
    sample = Sample("s", media, (Turn("user", "what?"), Turn("assistant", "it is 12")), source="labels:7")
    (group,) = group_by_clip([sample], PROMPT, tokenizer(), 99)
    labels = group.encoded[0].labels
    assert group_by_clip([sample], PROMPT, tokenizer(), labels)[0].samples == (sample,)
    with pytest.raises(FormatError, match=f"labels:7: its answer has {labels} tokens, the limit is"):
        group_by_clip([sample], PROMPT, tokenizer(), labels - 1)


def test_of_a_stretch_that_is_broken_it_is_said_which_and_nothing_is_said_twice(tmp_path: Path) -> None:
    file = tmp_path / quarantine.QUARANTINE
    whole, late, early = Clip("a", Path("ä.mp4")), Clip("b", Path("b"), 1.5), Clip("c", Path("c"), 0.0, 2.0)
    quarantine.add(file, {whole: "cut short", late: "empty"})
    quarantine.add(file, {late: "empty", early: "no picture"})
    lines = file.read_text(encoding="utf-8").splitlines()
    assert lines[0] == '{"path": "ä.mp4", "reason": "cut short"}'
    assert [json.loads(line) for line in lines[1:]] == [
        {"path": "b", "start_s": 1.5, "end_s": None, "reason": "empty"},
        {"path": "c", "start_s": 0.0, "end_s": 2.0, "reason": "no picture"},
    ]
