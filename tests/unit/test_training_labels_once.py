"""Labels are read and turned into ids once, however many stages learn from them, and kept small."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from training_tools import PROMPT, recipe, silent, stage, tokenizer, trained, write_clips

from vidapt.formats import open_samples
from vidapt.models.text import Encoded, encode
from vidapt.training import data as data_module
from vidapt.training.encodings import Encodings, Remembering
from vidapt.training.run import train


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


class Counted:
    """How often label files are opened and samples turned into ids."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.opened: list[str] = []
        self.encoded = 0

        def opening(path: Path, *others: Any, **options: Any) -> Any:
            self.opened.append(path.name)
            return open_samples(path, *others, **options)

        def encoding(*given: Any, **options: Any) -> Encoded:
            self.encoded += 1
            return encode(*given, **options)

        patch.setattr(data_module, "open_samples", opening)
        patch.setattr(data_module, "encode", encoding)


def test_stages_share_what_they_read(labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = recipe(
        stage(labels, "a", steps=1),
        stage(labels, "b", steps=1),
        # The same file, otherwise filtered, and otherwise limited: read once, and turned into ids anew.
        stage(labels, "c", steps=1, data=[{"path": str(labels), "limit": 1}]),
        stage(labels, "d", steps=1, batching={"max_answer_tokens": 99}),
    )
    counted = Counted(monkeypatch)
    trained(plan, tmp_path / "runs")
    assert counted.opened == ["labels.jsonl"]
    assert counted.encoded == 12 + 3 + 12


def test_texts_of_finished_stages_are_not_read_again(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = recipe(
        stage(labels, "a", steps=1, data=[{"path": str(labels), "skip": 1}]), stage(labels, "b", steps=3)
    )

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if (task, done) == ("b", 2):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(plan, tmp_path, report, workers=0)
    counted = Counted(monkeypatch)
    train(plan, tmp_path, silent, workers=0, resume=True)
    assert counted.encoded == 12
    counted.encoded = 0
    train(plan, tmp_path, silent, workers=0, resume=True)
    assert counted.encoded == 0


def test_kept_small_they_are_the_same(labels: Path) -> None:
    samples, words = list(open_samples(labels)), tokenizer()
    expected = [encode(sample, PROMPT, words) for sample in samples]
    kept = Encodings(expected[0].prefix, expected[0].early)
    for one in expected:
        kept.append(one)
    assert list(kept) == expected
    assert len(kept) == len(expected)
    assert (kept[-1], kept[2:5]) == (expected[-1], expected[2:5])
    with pytest.raises(IndexError):
        kept[len(expected)]


def test_a_token_takes_five_bytes() -> None:
    kept = Encodings((), ())
    one = Encoded((), tuple(range(1000, 2000)), (True,) * 1000)
    for _ in range(100):
        kept.append(one)
    inside = sum(sys.getsizeof(value) for value in vars(kept).values())
    assert inside < 100 * 1000 * 5 * 1.2


def test_a_tokenizer_that_remembers_answers_the_same() -> None:
    plain, remembering = tokenizer(), Remembering(tokenizer())
    for text in ("the red ball", "the red ball", "</s> 12"):
        for options in ({"add_special_tokens": False}, {"add_special_tokens": True}):
            assert remembering(text, **options).input_ids == plain(text, **options).input_ids
    assert remembering.eos_token == plain.eos_token
    assert len(remembering) == len(plain)
