"""None"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from caption_folder_tools import counts, run
from caption_tools import CLIPS, TOKENS, film, film_all, lines, partial, quarantine, said, save_tiny_model

from vidapt.captioning.rows import CaptionRow
from vidapt.errors import BrokenClip, ConfigError, FormatError
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.locks import TakenError, owned
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
    assert not partial(out).exists()
    assert not quarantine(out).exists()


def test_parquet_holds_the_rows_of_the_json_lines(
    engine: Engine, clips: Path, tmp_path: Path, whole: list[dict[str, Any]]
) -> None:
    out = tmp_path / "captions.parquet"
    run(engine, clips, out)
    table = pq.read_table(out)
    assert table.column_names[0] == "key"
    rows = table.drop_columns(["seconds", "created", "folder"]).to_pylist()
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
    names = ["1 empty.mp4", "4 cut.mp4", "day 2/text.mkv", "gone.mp4"]
    assert [row["clip"] for row in listed] == names
    assert "zero bytes" in listed[0]["reason"]
    assert all(set(row) == {"clip", "reason"} and row["reason"] for row in listed)
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


def test_done_work_is_not_done_again(
    engine: Engine, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "captions.jsonl"
    run(engine, clips, out)
    before, content = out.stat(), out.read_bytes()
    monkeypatch.setattr(engine, "answer", None)
    assert counts(run(engine, clips, out)) == (0, CLIPS, 0)
    assert out.read_bytes() == content
    assert out.stat().st_mtime_ns == before.st_mtime_ns


def test_new_and_changed_clips_are_added_and_old_rows_stay(
    engine: Engine, clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "captions.jsonl"
    run(engine, clips, out)
    before = {row["clip"]: row for row in lines(out)}
    film(clips / "3.mp4", 100)
    film(clips / "1 new.mp4", 101)
    (clips / "0.mp4").unlink()
    assert counts(run(engine, clips, out)) == (2, CLIPS - 1, 0)
    rows = {row["clip"]: row for row in lines(out)}
    assert list(rows)[:4] == ["0.mp4", "1 new.mp4", "3.mp4", "6.mp4"]
    assert len(lines(out)) == len(rows) == CLIPS + 1
    changed = [name for name in before if rows[name] != before[name]]
    assert changed == ["3.mp4"]
    assert rows["3.mp4"]["key"] != before["3.mp4"]["key"]


def test_a_clip_that_got_broken_loses_its_row(engine: Engine, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    run(engine, clips, out)
    (clips / "3.mp4").write_bytes(b"")
    assert counts(run(engine, clips, out)) == (0, CLIPS - 1, 1)
    assert "3.mp4" not in {row["clip"] for row in lines(out)}


@pytest.mark.parametrize("options", [{"prompt": "what happens?"}, {"decoding": Decoding(max_new_tokens=5)}])
def test_captions_of_another_kind_are_not_mixed_in(
    options: dict[str, Any], engine: Engine, clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "captions.jsonl"
    run(engine, clips, out)
    keys = {row["key"] for row in lines(out)}
    with pytest.raises(ConfigError, match="other captions"):
        run(engine, clips, out, **options)
    assert counts(run(engine, clips, out, overwrite=True, **options)) == (CLIPS, 0, 0)
    assert not keys & {row["key"] for row in lines(out)}


def test_another_model_is_new_work(engine: Engine, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    run(engine, clips, out)
    other = load(save_tiny_model(tmp_path / "other", seed=1))
    with pytest.raises(ConfigError, match="other captions"):
        run(other, clips, out)


def test_what_greedy_decoding_does_not_read_is_not_another_kind(
    engine: Engine, clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "captions.jsonl"
    run(engine, clips, out)
    assert counts(run(engine, clips, out, decoding=Decoding(TOKENS, seed=9))) == (0, CLIPS, 0)


def test_foreign_files_are_not_replaced_unasked(engine: Engine, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions.jsonl"
    out.write_text('{"caption": "by hand"}\n')
    with pytest.raises(FormatError, match="something other than captions"):
        run(engine, clips, out)
    assert out.read_text() == '{"caption": "by hand"}\n'
    assert counts(run(engine, clips, out, overwrite=True)) == (CLIPS, 0, 0)


@pytest.mark.parametrize("name", ["captions.csv", "captions"])
def test_unknown_kinds_of_files_are_refused(name: str, engine: Engine, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.jsonl or \.parquet"):
        run(engine, clips, tmp_path / name)


@pytest.mark.parametrize("what", ["partial", "quarantine"])
def test_a_folder_where_a_file_is_written_on_the_way_is_told_before_work_begins(
    what: str, engine: Engine, clips: Path, tmp_path: Path
) -> None:
    (tmp_path / f"captions.jsonl.{what}.jsonl").mkdir()
    with pytest.raises(ConfigError, match=rf"captions\.jsonl\.{what}\.jsonl: is a folder"):
        run(engine, clips, tmp_path / "captions.jsonl")
    assert [path.name for path in tmp_path.glob("captions*")] == [f"captions.jsonl.{what}.jsonl"]


def test_captions_go_where_a_link_leads(engine: Engine, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "captions.jsonl").symlink_to("elsewhere.jsonl")
    run(engine, clips, tmp_path / "captions.jsonl")
    assert (tmp_path / "captions.jsonl").is_symlink()
    assert len((tmp_path / "elsewhere.jsonl").read_text(encoding="utf-8").splitlines()) == CLIPS


def test_progress_ends_at_the_number_of_clips(engine: Engine, clips: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    run(
        engine,
        clips,
        tmp_path / "a.jsonl",
        report=lambda task, done, total, note="": told.append((task, done, total)),
    )
    steps = [done for task, done, total in told if task == "caption" and total == CLIPS]
    assert steps == [0, 4, 8, 10]
    assert told[0][0] == "look at clips"


def test_a_summary_can_be_shown(engine: Engine, clips: Path, tmp_path: Path) -> None:
    summary = run(engine, clips, tmp_path / "a.jsonl")
    told = summary.to_dict()
    assert (told["out"], told["captioned"], told["broken"]) == (str(tmp_path / "a.jsonl"), CLIPS, 0)
    assert summary.row()[:3] == [str(CLIPS), "0", "0"]
    columns = [
        name for name in CaptionRow.__dataclass_fields__ if name not in ("captions", "prompts", "cues")
    ]
    assert columns == list(lines(tmp_path / "a.jsonl")[0]), "one caption has no list"


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
        run(engine, clips, tmp_path / "a.jsonl", prompt="<video><video>")
    with pytest.raises(BrokenClip, match="no such file"):
        engine.caption(clips / "absent.mp4")


def test_a_link_and_the_file_it_leads_to_are_one_job(engine: Engine, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    with (
        owned(tmp_path / "real.jsonl.partial.jsonl"),
        pytest.raises(TakenError, match="another process"),
    ):
        run(engine, clips, tmp_path / "link.jsonl")
    summary = run(engine, clips, tmp_path / "link.jsonl")
    assert summary.out == tmp_path / "real.jsonl"
