"""None"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from caption_folder_tools import counts, run
from caption_tools import CLIPS, MADE, TOKENS, film_all, lines, noted, quarantine, said, save_tiny_model

from vidapt.errors import BrokenClip, FormatError
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_all(tmp_path_factory.mktemp("filmed"))


@pytest.fixture
def clips(filmed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filmed, tmp_path / "clips")


@pytest.fixture(scope="module")
def whole(engine: Engine, filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Rows of a job nothing happened to."""
    out = tmp_path_factory.mktemp("whole") / "captions.jsonl"
    run(engine, filmed, out)
    return said(out)


def test_every_clip_has_one_row_that_says_what_made_it(engine: Engine, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    assert counts(run(engine, clips, out)) == (CLIPS, 0, 0)
    rows = lines(out)
    assert all(next(iter(row)) == "key" for row in rows)
    assert len({row["key"] for row in rows}) == CLIPS
    root = [f"{n}.mp4" for n in range(0, CLIPS, 3)]
    assert [row["clip"] for row in rows] == root + [f"day 2/{n}.mp4" for n in range(CLIPS) if n % 3]
    assert len({row["caption"] for row in rows}) > CLIPS // 2, "equal captions would hide mixed-up rows"
    for row in rows:
        assert row["model"] == "tiny"
        assert row["model_hash"] == engine.fingerprint
        assert row["recipe_hash"] == "0123456789abcdef"
        assert row["prompt"] == "describe the video."
        assert row["frames"] == pytest.approx([1 / 3, 1.0, 5 / 3], abs=1e-3)
        assert row["visual_tokens"] == 5
        assert row["text_tokens"] > 2
        assert row["finish"] == ("length" if row["new_tokens"] == TOKENS else "end")
        assert row["seconds"] > 0
    assert not noted(out)
    assert not quarantine(out).exists()


def test_parquet_holds_the_rows_of_the_json_lines(
    engine: Engine, clips: Path, tmp_path: Path, whole: list[dict[str, Any]]
) -> None:
    out = tmp_path / "captions.parquet"
    run(engine, clips, out)
    table = pq.read_table(out)
    assert table.column_names[0] == "key"
    rows = table.drop_columns(list(MADE)).to_pylist()
    assert rows == whole
    assert counts(run(engine, clips, out)) == (0, CLIPS, 0)


def test_a_batch_gives_the_captions_of_single_runs(
    engine: Engine, clips: Path, tmp_path: Path, whole: list[dict[str, Any]]
) -> None:
    run(engine, clips, tmp_path / "single.jsonl", batch=1)
    assert said(tmp_path / "single.jsonl") == whole
    for row in whole[:3]:
        assert engine.caption(clips / row["clip"], max_new_tokens=TOKENS) == row["caption"]


def test_sampled_captions_do_not_depend_on_the_batch(engine: Engine, clips: Path, tmp_path: Path) -> None:
    warm = Decoding(max_new_tokens=TOKENS, temperature=0.8, top_p=0.9, seed=3)
    run(engine, clips, tmp_path / "a.jsonl", decoding=warm)
    run(engine, clips, tmp_path / "b.jsonl", decoding=warm, batch=3)
    run(
        engine, clips, tmp_path / "c.jsonl", decoding=Decoding(max_new_tokens=TOKENS, temperature=0.8, seed=4)
    )
    assert said(tmp_path / "a.jsonl") == said(tmp_path / "b.jsonl")
    assert said(tmp_path / "a.jsonl") != said(tmp_path / "c.jsonl")


def test_broken_clips_go_to_quarantine_and_cost_nobody_else(
    engine: Engine, clips: Path, tmp_path: Path, whole: list[dict[str, Any]]
) -> None:
    (clips / "1 empty.mp4").touch()
    (clips / "day 2" / "text.mkv").write_text("not a video\n" * 50)
    (clips / "labels.json").write_text("{}")
    (clips / "gone.mp4").symlink_to("nowhere.mp4")
    shortened = (clips / "3.mp4").read_bytes()[:400]
    (clips / "4 cut.mp4").write_bytes(shortened)
    out = tmp_path / "captions.jsonl"
    summary = run(engine, clips, out, workers=1)
    assert counts(summary) == (CLIPS, 0, 4)
    assert summary.ignored == {".json": 1}
    assert summary.quarantine == quarantine(out)
    listed = lines(quarantine(out))
    names = ["1 empty.mp4", "4 cut.mp4", "gone.mp4", "day 2/text.mkv"]
    assert [row["clip"] for row in listed] == names
    assert "zero bytes" in listed[0]["reason"]
    assert [row["error"] for row in listed] == [*["BrokenClip"] * 2, "FileNotFoundError", "BrokenClip"]
    assert [row["caption"] for row in said(out)] == [row["caption"] for row in whole]
    for name in names:
        (clips / name).unlink()
    assert counts(run(engine, clips, out)) == (0, CLIPS, 0)
    assert not quarantine(out).exists()


def test_only_broken_clips_leave_an_empty_file(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    out = tmp_path / "captions.parquet"
    assert counts(run(engine, tmp_path, out)) == (0, 0, 1)
    assert pq.read_table(out).num_rows == 0


def test_progress_ends_at_the_number_of_clips(engine: Engine, clips: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    run(
        engine,
        clips,
        tmp_path / "a.jsonl",
        report=lambda task, done, total, note="": told.append((task, done, total)),
    )
    steps = [done for task, done, total in told if task == "caption" and total == CLIPS]
    assert steps == [0, 10, 10], "16 are given to the model at a time"
    assert told[0][0] == "list clips"


def test_an_engine_answers_several_questions_as_it_answers_one(engine: Engine, clips: Path) -> None:
    clip = clips / "0.mp4"
    questions = ["what?", "<video>what?", "look at <video>what?", "what?", "a longer question than that?"]
    together = engine.ask_all(clip, questions, max_new_tokens=6)
    assert together == [engine.ask(clip, question, max_new_tokens=6) for question in questions]
    assert together[0] == together[1] == together[3] != together[2]


def test_what_cannot_be_asked_is_said(engine: Engine, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="2 media marks for 1 clips"):
        engine.ask(clips / "0.mp4", "<video><video> same?")
    with pytest.raises(FormatError, match="2 media marks"):
        run(engine, clips, tmp_path / "a.jsonl", prompts=["<video><video>"])
    with pytest.raises(BrokenClip, match="no such file"):
        engine.caption(clips / "absent.mp4")
