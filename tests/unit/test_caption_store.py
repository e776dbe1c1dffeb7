"""A folder of captions: what comes in, who works on what, and the one row of every clip."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_tools import CLIPS, SHARD, counts, rows_of, run, write, write_clips

from _stub_engine import StubEngine
from vidapt.appended import Sealed
from vidapt.captioning.engines.protocol import Words
from vidapt.captioning.rows import read_rows
from vidapt.captioning.store import worker
from vidapt.captioning.store.index import Index, write_index
from vidapt.captioning.store.inputs import Input, Listing, Seen
from vidapt.captioning.store.kept import Kept
from vidapt.captioning.store.shape import Schema
from vidapt.captioning.store.stores import jobs_of
from vidapt.errors import ConfigError, FormatError, VidaptError
from vidapt.formats import open_samples
from vidapt.inference.engine import Engine
from vidapt.locks import owned
from vidapt.models.decoding import Decoding
from vidapt.progress import silent


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a shard is more than one."""
    monkeypatch.setattr(worker, "WINDOW", 1)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


def said(out: Path) -> list[tuple[Any, ...]]:
    """What a store holds, without what tells when it was made."""
    names = ("clip", "key", "status", "captions", "frames", "reason", "copy_of", "start_s", "end_s")
    return [tuple(map(str, (row[name] for name in names))) for row in rows_of(out)]


def test_every_input_has_one_row_in_natural_order(clips: Path, tmp_path: Path) -> None:
    write(clips / "10 empty.mp4", b"")
    done = run(clips, tmp_path / "store")
    assert counts(done) == (CLIPS, 0, 1, 0)
    assert done.ignored == {".md": 1}
    rows = rows_of(tmp_path / "store")
    files = [f"{n}.mp4" for n in range(0, CLIPS, 2)] + ["10 empty.mp4"]
    assert [row["clip"] for row in rows] == files + [f"inside/{n}.mp4" for n in range(1, CLIPS, 2)]
    assert len({row["key"] for row in rows}) == CLIPS + 1
    for row in rows:
        whole = row["status"] == "done"
        assert (row["error"] is None, len(row["captions"])) == (whole, int(whole))
    failed = rows[5]
    assert (failed["status"], failed["error"]) == ("failed", "BrokenClip")
    assert "zero bytes" in failed["reason"]
    assert rows[0]["caption"] == rows[0]["captions"][0]
    assert (rows[0]["finish"], rows[0]["mean_logprob"], rows[0]["new_tokens"]) == ("end", -0.5, 4)


def test_a_stores_file_is_read_as_captions(clips: Path, tmp_path: Path) -> None:
    write(clips / "empty.mp4", b"")
    run(clips, tmp_path / "store", outputs=[tmp_path / "all.jsonl"])
    told = read_rows(tmp_path / "store" / "captions.parquet")
    assert len(told) == CLIPS
    assert told == read_rows(tmp_path / "all.jsonl")
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == CLIPS + 1


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=30, unique=True),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_however_it_is_cut_and_divided_every_input_has_one_row(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], shard: int, batch: int, parts: int
) -> None:
    folder = tmp_path_factory.mktemp("divided")
    for number in numbers:
        write(folder / "clips" / f"{number}.mp4", b"" if number % 7 == 0 else str(number).encode())
    for part in range(1, parts + 1):
        done = run(folder / "clips", folder / "store", shard=shard, batch=batch, part=(part, parts))
        assert (done.left == 0) == (folder / "store" / "captions.parquet").exists()
    rows = rows_of(folder / "store")
    assert [row["clip"] for row in rows] == [f"{number}.mp4" for number in sorted(numbers)]
    assert {row["clip"] for row in rows if row["status"] == "failed"} == {
        f"{number}.mp4" for number in numbers if number % 7 == 0
    }
    shutil.rmtree(folder)


def test_parts_meet_in_one_folder_and_the_last_one_joins_them(clips: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "store", tmp_path / "whole"
    run(clips, whole)
    assert run(clips, out, part=(2, 3)).left == CLIPS - SHARD
    assert not (out / "captions.parquet").exists()
    run(clips, out, part=(1, 3))
    done = run(clips, out, part=(3, 3))
    assert done.left == 0
    assert done.outputs == [out / "captions.parquet"]
    assert said(out) == said(whole)
    engine = StubEngine()
    late = run(clips, out, engine, part=(1, 3))
    assert (counts(late), engine.asked, len(jobs_of(out))) == ((0, CLIPS, 0, 0), 0, 1)
    write(clips / "new.mp4", b"new")
    assert run(clips, out, part=(1, 3)).inputs == CLIPS + 1, "what is listed otherwise is another job"


def test_a_shard_that_another_process_holds_is_left_to_it(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    run(clips, out, part=(1, 3))
    (job,) = jobs_of(out)
    with owned(job.journal(1)):
        assert run(clips, out).left == SHARD
        assert not (out / "captions.parquet").exists()
    assert run(clips, out).left == 0


def test_an_interrupted_job_goes_on_where_it_was(clips: Path, tmp_path: Path) -> None:
    out, whole = tmp_path / "store", tmp_path / "whole"
    write(clips / "5 empty.mp4", b"")
    run(clips, whole)
    for stop in range(1, 4):
        with pytest.raises(KeyboardInterrupt):
            run(clips, out, report=stop_after(stop))
    engine = StubEngine()
    done = run(clips, out, engine)
    assert done.captioned + done.kept == CLIPS
    assert done.kept > 0
    assert said(out) == said(whole)
    assert not list(out.glob("jobs/*/shards/*"))


def stop_after(batches: int) -> Callable[..., None]:
    left = [batches]

    def report(task: str, done: int, total: int, note: str = "") -> None:
        left[0] -= bool(note)
        if not left[0]:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("share", [0.0, 0.2, 0.55, 0.9])
def test_a_journal_cut_or_damaged_anywhere_costs_its_clips_another_look(
    share: float, clips: Path, tmp_path: Path
) -> None:
    out, whole = tmp_path / "store", tmp_path / "whole"
    run(clips, whole)
    with pytest.raises(KeyboardInterrupt):
        run(clips, out, report=stop_after(1))
    (journal,) = out.glob("jobs/*/shards/*.jsonl")
    content = journal.read_bytes()
    at = round(share * len(content))
    journal.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    run(clips, out)
    assert said(out) == said(whole)
    with pytest.raises(KeyboardInterrupt):
        run(clips, tmp_path / "other", report=stop_after(1))
    (journal,) = (tmp_path / "other").glob("jobs/*/shards/*.jsonl")
    journal.write_bytes(journal.read_bytes()[:at])
    run(clips, tmp_path / "other")
    assert said(tmp_path / "other") == said(whole)


def test_a_sealed_line_that_changed_is_none(tmp_path: Path) -> None:
    with Sealed(tmp_path / "a.jsonl") as file:
        places = [file.write({"n": n}) for n in range(3)]
        assert [line for _, line in file.lines()] == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert file.at(places[1]) == {"n": 1}
    text = (tmp_path / "a.jsonl").read_text()
    (tmp_path / "a.jsonl").write_text(text.replace('"n": 1', '"n": 7'))
    with Sealed(tmp_path / "a.jsonl") as file:
        assert [line for _, line in file.lines()] == [{"n": 0}, None, {"n": 2}]


def test_unchanged_work_is_not_done_again_and_what_failed_is_tried(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    write(clips / "broken.mp4", b"")
    run(clips, out)
    first = {row["clip"]: row for row in rows_of(out)}
    write(clips / "2.mp4", b"other content")
    write(clips / "new.mp4", b"new")
    (clips / "4.mp4").unlink()
    (clips / "6.mp4").rename(clips / "6 moved.mp4")
    write(clips / "broken.mp4", b"mended")
    engine = StubEngine()
    assert counts(run(clips, out, engine)) == (3, CLIPS - 2, 0, 0)
    assert engine.asked == 3
    rows = {row["clip"]: row for row in rows_of(out)}
    assert "4.mp4" not in rows
    assert rows["6 moved.mp4"]["key"] == first["6.mp4"]["key"]
    assert rows["8.mp4"] == first["8.mp4"]
    assert len(jobs_of(out)) == 1, "rows that were taken over are not kept twice"


def test_a_file_that_did_not_change_is_not_read_again(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(clips, tmp_path / "store")
    monkeypatch.setattr("vidapt.captioning.store.shard.identity", None)
    assert counts(run(clips, tmp_path / "store")) == (0, CLIPS, 0, 0)


def test_another_question_is_other_work_and_the_first_one_stays(clips: Path, tmp_path: Path) -> None:
    out, engine = tmp_path / "store", StubEngine()
    run(clips, out, engine)
    first = said(out)
    assert run(clips, out, engine, prompts=["what happens?"]).captioned == CLIPS
    assert said(out) != first
    assert engine.asked == 2 * CLIPS
    assert run(clips, out, engine).captioned == 0
    assert (said(out), engine.asked) == (first, 2 * CLIPS)
    for other in (StubEngine(fingerprint="other"), StubEngine(side=64)):
        assert run(clips, out, other).captioned == CLIPS
    assert run(clips, out, decoding=Decoding(max_new_tokens=7)).captioned == CLIPS
    assert run(clips, out, decoding=Decoding(seed=3)).captioned == 0, "greedy decoding reads no seed"


def test_several_questions_make_one_row(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "store", prompts=["what?", "who?"])
    rows = rows_of(tmp_path / "store")
    assert len(rows) == CLIPS
    for row in rows:
        assert (row["prompt"], row["prompts"]) == ("what?", ["what?", "who?"])
        assert len(set(row["captions"])) == len(row["tokens"]) == len(row["logprobs"]) == 2
        assert row["new_tokens"] == sum(row["tokens"])
    with pytest.raises(ConfigError, match="asked twice"):
        run(clips, tmp_path / "store", prompts=["what?", "what?"])


class Refusing(StubEngine):
    """Refuses to be asked about one clip."""

    def answer(self, asked: Any, decoding: Decoding, places: int) -> list[list[Words] | VidaptError]:
        wrong = VidaptError("question", "is too long with this clip")
        said = super().answer(asked, decoding, places)
        return [
            wrong if seen.clip.path.name == "4.mp4" else one
            for (seen, _), one in zip(asked, said, strict=True)
        ]


def test_a_clip_that_cannot_be_asked_about_costs_no_other(clips: Path, tmp_path: Path) -> None:
    assert counts(run(clips, tmp_path / "store", Refusing())) == (CLIPS - 1, 0, 1, 0)
    (failed,) = (row for row in rows_of(tmp_path / "store") if row["status"] == "failed")
    assert (failed["clip"], failed["error"]) == ("4.mp4", "VidaptError")
    assert failed["reason"] == "is too long with this clip"


def test_a_file_that_cannot_be_read_or_is_gone_costs_its_row(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(clips, tmp_path / "store", report=stop_after(1))
    (clips / "inside" / "9.mp4").unlink()
    (clips / "link.mp4").symlink_to("nowhere.mp4")
    assert run(clips, tmp_path / "store").failed == 1
    failed = [row for row in rows_of(tmp_path / "store") if row["status"] == "failed"]
    assert [(row["clip"], row["error"]) for row in failed] == [("inside/9.mp4", "FileNotFoundError")]


# ------------------------------------------------------------------ inputs


def names(source: Path | list[Path], folder: Path, shard: int = 3) -> list[Input]:
    path = folder / "index.parquet"
    write_index(path, Listing([source] if isinstance(source, Path) else source), shard, silent)
    index = Index(path)
    assert all(size == shard for size in index.sizes[:-1])
    return [one for number in range(len(index.sizes)) for one in index.shard(number)]


def test_a_list_names_stretches_and_an_unsound_row_is_a_failed_one(clips: Path, tmp_path: Path) -> None:
    rows = [
        {"path": "clips/0.mp4"},
        {"path": "clips/0.mp4", "start_s": 1.0, "end_s": 2.5, "weather": "fine"},
        {"path": "clips/0.mp4", "start_s": 3, "end_s": 2},
        {"path": "clips/0.mp4"},
        {"path": "clips/absent.mp4", "id": "mine"},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write(tmp_path / "list.jsonl", (text + "no json\n").encode())
    found = names(tmp_path / "list.jsonl", tmp_path)
    told = [(one.name, one.start_s, one.end_s) for one in found]
    assert told == [
        ("clips/0.mp4", 0.0, None),
        ("clips/0.mp4@1.0-2.5", 1.0, 2.5),
        ("list.jsonl:3", 0.0, None),
        ("mine", 0.0, None),
        ("list.jsonl:6", 0.0, None),
    ]
    assert "not after its start" in (found[2].wrong or "")
    pq.write_table(pa.Table.from_pylist(rows[1::-1]), tmp_path / "list.parquet")
    assert [one.name for one in names(tmp_path / "list.parquet", tmp_path)] == [one[0] for one in told[1::-1]]
    assert counts(run(tmp_path / "list.jsonl", tmp_path / "store")) == (2, 0, 3, 0)
    rows_found = rows_of(tmp_path / "store")
    assert [row["error"] for row in rows_found] == [
        None,
        None,
        "FormatError",
        "FileNotFoundError",
        "FormatError",
    ]
    assert rows_found[1]["frames"] == [1.5, 2.5]


def test_clips_of_label_files_are_captioned_once_each(clips: Path, tmp_path: Path) -> None:
    rows = [{"video": f"clips/{n}.mp4", "question": q, "answer": "yes"} for n in (0, 2) for q in ("a?", "b?")]
    write(tmp_path / "labels.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    done = run(tmp_path / "labels.jsonl", tmp_path / "store")
    assert (done.captioned, done.ignored) == (2, {"repeated": 2})
    assert [row["clip"] for row in rows_of(tmp_path / "store")] == ["clips/0.mp4", "clips/2.mp4"]


def test_a_tar_file_is_captioned_member_by_member(clips: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for number in range(CLIPS):
            for suffix, content in ((".mp4", b"clip %d" % number), (".txt", b"a label")):
                member = tarfile.TarInfo(f"../{number}{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    done = run(tmp_path / "shard.tar", tmp_path / "store")
    assert (done.captioned, done.ignored) == (CLIPS, {".txt": CLIPS})
    run(clips, tmp_path / "files")
    texts = {row["content"]: row["caption"] for row in rows_of(tmp_path / "files")}
    assert {row["content"]: row["caption"] for row in rows_of(tmp_path / "store")} == texts
    assert not list((tmp_path / "store").rglob("*.mp4")), "what was unpacked is gone"
    assert not list(tmp_path.glob("*.mp4")), "no name leads out of the folder"
    engine = StubEngine()
    run(tmp_path / "shard.tar", tmp_path / "store", engine)
    assert engine.asked == 0
    write(tmp_path / "cut.tar", (tmp_path / "shard.tar").read_bytes()[:700])
    with pytest.raises(FormatError, match="shard"):
        run(tmp_path / "cut.tar", tmp_path / "other")


def test_patterns_and_several_sources_have_names_of_their_own(clips: Path, tmp_path: Path) -> None:
    found = names([clips / "*.mp4", clips / "inside", clips], tmp_path)
    assert [one.name for one in found] == [
        *(f"{n}.mp4" for n in range(0, CLIPS, 2)),
        *(f"{n}.mp4" for n in range(1, CLIPS, 2)),
    ]
    shutil.copytree(clips, tmp_path / "copy")
    found = names([clips, tmp_path / "copy"], tmp_path)
    assert len({one.name for one in found}) == 2 * CLIPS
    assert found[CLIPS].name == "0.mp4#2"


def test_what_is_no_input_is_told_before_work(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cases: list[tuple[Path, str]] = [
        (tmp_path / "absent", "no such file"),
        (tmp_path / "empty", "no clip is here"),
        (tmp_path / "none-*.jsonl", "no such file"),
    ]
    for source, match in cases:
        with pytest.raises(ConfigError, match=match):
            run(source, tmp_path / "store")
        assert not list((tmp_path / "store").glob("jobs/*-*"))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=60))
@settings(max_examples=30, deadline=None)
def test_numbers_are_seen_once(numbers: list[int]) -> None:
    seen, known = Seen(), set[int]()
    seen_apart = pytest.MonkeyPatch()
    seen_apart.setattr("vidapt.captioning.store.inputs._APART", 7)
    for number in numbers:
        assert seen.add(number) == (number not in known)
        known.add(number)
    assert all(number in seen for number in numbers)
    seen_apart.undo()


# ------------------------------------------------------------------ refusals and outputs


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (1, 0)])
def test_a_part_that_there_is_none_of_is_refused(part: tuple[int, int], clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--shard"):
        run(clips, tmp_path / "store", part=part)


def test_other_folders_and_other_versions_are_left_alone(clips: Path, tmp_path: Path) -> None:
    write(tmp_path / "mine" / "thesis.txt", b"text")
    with pytest.raises(ConfigError, match="other things"):
        run(clips, tmp_path / "mine")
    with pytest.raises(ConfigError, match="no folder"):
        run(clips, tmp_path / "mine" / "thesis.txt")
    run(clips, tmp_path / "store")
    (job,) = jobs_of(tmp_path / "store")
    file = job.folder / "job.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    with pytest.raises(ConfigError, match="format 99"):
        run(clips, tmp_path / "store")


def test_rows_go_into_other_formats_which_read_them(clips: Path, tmp_path: Path) -> None:
    write(clips / "empty.mp4", b"")
    wanted = [tmp_path / f"out.{suffix}" for suffix in ("json", "tar", "jsonl")]
    done = run(clips, tmp_path / "store", prompts=["what?", "who?"], outputs=wanted)
    assert done.outputs == [tmp_path / "store" / "captions.parquet", *wanted]
    rows = [row for row in rows_of(tmp_path / "store") if row["status"] == "done"]
    samples = list(open_samples(tmp_path / "out.json"))
    assert [turn.text for turn in samples[0].turns if turn.role == "assistant"] == rows[0]["captions"]
    assert [sample.media[0].path.name for sample in samples] == [Path(row["clip"]).name for row in rows]
    unpacked = list(open_samples(tmp_path / "out.tar"))
    assert [one.answer for one in unpacked] == [row["caption"] for row in rows]
    assert unpacked[0].media[0].path.read_bytes() == b"clip 0"


def test_what_a_format_cannot_hold_is_counted(clips: Path, tmp_path: Path) -> None:
    rows = [{"path": "clips/0.mp4"}, {"path": "clips/2.mp4", "start_s": 1, "end_s": 2}]
    write(tmp_path / "list.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    done = run(tmp_path / "list.jsonl", tmp_path / "store", outputs=[tmp_path / "out.json"])
    assert done.left_out == {str(tmp_path / "out.json"): 1}
    assert len(json.loads((tmp_path / "out.json").read_text())) == 1


@pytest.mark.parametrize(
    ("name", "match"), [("a.csv", "cannot write .csv"), ("a.lance", "vidapt\\[lance\\]")]
)
def test_outputs_that_cannot_be_written_are_refused_before_work(
    name: str, match: str, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=match):
        run(clips, tmp_path / "store", outputs=[tmp_path / name])
    assert not (tmp_path / "store").exists()


def test_a_rate_is_for_folders_of_pictures(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--fps"):
        run(clips, tmp_path / "store", fps=5.0)
    for number in range(3):
        write(tmp_path / "pictures" / "one" / f"{number}.png", b"picture")
    run(tmp_path / "pictures", tmp_path / "store", fps=5.0, albums=True)
    (row,) = rows_of(tmp_path / "store")
    assert (row["clip"], row["status"], row["stamp"]) == ("one", "done", "")
    run(tmp_path / "pictures", tmp_path / "store", fps=2.0, albums=True)
    assert rows_of(tmp_path / "store")[0]["key"] != row["key"]


def test_lance_is_given_all_rows(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_dataset(data: pa.RecordBatchReader, uri: str, *, mode: str) -> None:
        assert mode == "overwrite"
        pq.write_table(data.read_all(), Path(uri) / "data.parquet")

    fake = ModuleType("lance")
    vars(fake)["write_dataset"] = write_dataset
    fake.__spec__ = ModuleSpec("lance", None)
    monkeypatch.setitem(sys.modules, "lance", fake)
    done = run(clips, tmp_path / "store", outputs=[tmp_path / "all.lance"])
    assert done.outputs[-1] == tmp_path / "all.lance"
    assert pq.read_table(tmp_path / "all.lance" / "data.parquet").to_pylist() == rows_of(tmp_path / "store")


# ------------------------------------------------------------------ answers of a schema


SCHEMA = {
    "type": "object",
    "properties": {"ball": {"enum": ["red", "blue"]}, "hits": {"type": "integer", "minimum": 0}},
    "required": ["ball"],
    "additionalProperties": False,
}


class Writing(StubEngine):
    """Says what is wrong at first, and what is right when it is told so; of one clip never."""

    def _said(self, clip: Any, question: str) -> Words:
        self.asked += 1
        again = "not usable" in question
        return Words(_TEXTS[2 if clip.path.name == "0.mp4" else int(again)], 1, True)


_TEXTS = ('{"ball": "green"}', '{"ball": "red", "hits": 2}', "red")


def test_an_answer_of_no_schema_is_asked_for_once_more(clips: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "schema.json", json.dumps(SCHEMA).encode())
    engine = Writing()
    done = run(clips, tmp_path / "store", engine, schema=Schema.read(path))
    assert counts(done) == (CLIPS - 1, 0, 1, 0)
    assert engine.asked == 2 * CLIPS
    rows = rows_of(tmp_path / "store")
    assert rows[0]["status"] == "failed"
    assert "no JSON" in rows[0]["reason"]
    assert rows[0]["error"] == "SchemaViolation"
    write(clips / "empty.mp4", b"")
    assert run(clips, tmp_path / "store", engine, schema=Schema.read(path)).errors == {
        "BrokenClip": 1,
        "SchemaViolation": 1,
    }
    assert {row["caption"] for row in rows[1:]} == {_TEXTS[1]}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ('{"ball": "red"}', None),
        ('{"ball": "red", "hits": -1}', "at least 0"),
        ('{"ball": "red", "hits": true}', "not of type integer"),
        ('{"hits": 1}', "lacks ball"),
        ('{"ball": "red", "x": 1}', "x may not be there"),
        ('{"ball": NaN}', "no JSON"),
        ("[]", "not of type object"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_mistakes_are_told(text: str, mistake: str | None) -> None:
    found = Schema(SCHEMA).mistake(text)
    assert (found is None) == (mistake is None)
    assert mistake is None or mistake in str(found)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[]", "is an object"),
        ("{", "no JSON"),
        ('{"oneOf": []}', "oneOf"),
        ('{"type": "text"}', "'type' of a schema has no such value"),
    ],
)
def test_schemas_that_cannot_be_checked_are_refused(text: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=match):
        Schema.read(write(tmp_path / "schema.json", text.encode()))


def test_kept_rows_are_found_by_key_and_stamp(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "store")
    (job,) = jobs_of(tmp_path / "store")
    kept, rows = Kept(job.parts), rows_of(tmp_path / "store")
    for row in reversed(rows):
        assert row["key"] in kept
        assert kept.row(row["key"]) == row
        assert kept.content(row["stamp"]) == row["content"]
    assert "0" * 24 not in kept
    assert kept.content("0" * 24) is None
    assert "0" * 24 not in Kept()
    job.parts[0].unlink()
    assert sum(row["key"] in Kept(job.parts) for row in rows) == CLIPS - SHARD
    missing = [*job.parts, job.folder / "rows" / "000009.parquet"]
    assert rows[-1]["key"] in Kept(missing), "parts may be removed while they are read"


def test_the_stub_is_asked_as_the_engine_is() -> None:
    for name in ("answer", "text", "text_tokens", "watch_batches"):
        assert callable(getattr(Engine, name))
