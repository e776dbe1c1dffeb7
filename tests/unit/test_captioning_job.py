"""A whole job in this process: rows and their columns, what makes two jobs different, and what goes on."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from training_tools import tokenizer, video_lm

from vidapt.captioning.bulk import Summary, caption_folder
from vidapt.captioning.job import Job
from vidapt.captioning.rows import read_rows
from vidapt.errors import ConfigError
from vidapt.inference.engine import Engine
from vidapt.inference.several import Reply
from vidapt.models.decoding import Answer, Decoding
from vidapt.nouns import Clip
from vidapt.video import write_mp4

LETTERS = tokenizer()


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(video_lm(language={"vocab_size": len(LETTERS)}), LETTERS, "tiny")


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / "films"
    (folder / "album").mkdir(parents=True)
    for number in range(2):
        pixels = np.full((4, 16, 16, 3), 60 * number + 40, np.uint8)
        write_mp4(folder / f"{number}.mp4", pixels, rate=2)
    for number in range(4):
        Image.new("RGB", (16, 16), (number * 40, 0, 0)).save(folder / "album" / f"{number}.png")
    return folder


def caption(engine: Engine, films: Path, out: Path, **options: Any) -> Summary:
    given = {"decoding": Decoding(max_new_tokens=3), "workers": 0, "albums": True, **options}
    return caption_folder(engine, films, out, **given)


def test_columns_are_those_that_readers_count_on(engine: Engine, films: Path, tmp_path: Path) -> None:
    caption(engine, films, tmp_path / "out.parquet")
    schema = pq.read_schema(tmp_path / "out.parquet")
    text, number, whole = pa.string(), pa.float64(), pa.int64()
    types = {
        **dict.fromkeys(("key", "clip", "caption", "model", "model_hash", "prompt", "settings"), text),
        **dict.fromkeys(("finish", "created", "version", "folder", "recipe_hash"), text),
        **dict.fromkeys(("visual_tokens", "text_tokens", "new_tokens"), whole),
        **dict.fromkeys(("seconds", "start_s", "end_s"), number),
        "frames": pa.list_(number),
        "notes": pa.list_(text),
    }
    assert {field.name: field.type for field in schema} == types
    assert {field.name for field in schema if field.nullable} == {"recipe_hash", "start_s", "end_s"}


def test_an_album_is_a_clip_of_the_rate_that_is_said(engine: Engine, films: Path, tmp_path: Path) -> None:
    told = {}
    for fps in (2.0, 4.0):
        out = tmp_path / f"{fps}.jsonl"
        caption(engine, films, out, fps=fps)
        told[fps] = {row.clip: row for row in read_rows(out)}
        assert set(told[fps]) == {"0.mp4", "1.mp4", "album"}
        assert told[fps]["album"].frames == tuple(round(at / fps, 6) for at in (0, 2, 3))
    assert told[2.0]["album"].key != told[4.0]["album"].key
    assert told[2.0]["0.mp4"].key == told[4.0]["0.mp4"].key
    caption(engine, films, tmp_path / "single.jsonl", albums=False)
    assert len(read_rows(tmp_path / "single.jsonl")) == 6


def test_a_finished_job_keeps_its_rows_and_refuses_others(
    engine: Engine, films: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    first = caption(engine, films, out)
    assert (first.captioned, first.kept, first.broken, first.quarantine) == (3, 0, 0, None)
    before = out.read_bytes()
    again = caption(engine, films, out)
    assert (again.captioned, again.kept) == (0, 3)
    assert out.read_bytes() == before
    with pytest.raises(ConfigError, match="holds other captions: by tiny"):
        caption(engine, films, out, prompt="what else?")
    assert caption(engine, films, out, prompt="what else?", overwrite=True).captioned == 3
    assert {row.prompt for row in read_rows(out)} == {"what else?"}


def test_an_unfinished_job_of_another_kind_is_refused(
    engine: Engine, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    answer = Engine.answer
    asked: list[int] = []

    def dying(self: Engine, *given: Any) -> Any:
        asked.append(1)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return answer(self, *given)

    monkeypatch.setattr(Engine, "answer", dying)
    with pytest.raises(KeyboardInterrupt):
        caption(engine, films, out, batch=2)
    with pytest.raises(ConfigError, match="is an unfinished job with another model, prompt"):
        caption(engine, films, out, prompt="what else?", batch=2)
    assert caption(engine, films, out, batch=2).captioned == 1
    assert len(read_rows(out)) == 3


def job(**changes: Any) -> Job:
    card = {"recipe_hash": "r"}
    engine: Any = SimpleNamespace(
        fingerprint="f", name="n", card=card, text=lambda answer: "red", text_tokens=lambda prompt: 7
    )
    given = {"prompt": "p", "decoding": Decoding(), "cutting": None, "folder": "/", **changes}
    return Job.of(engine, **given)


def test_jobs_differ_by_what_decides_a_caption() -> None:
    plain = job().settings
    assert job(decoding=Decoding(seed=5, top_p=0.5)).settings == plain, "greedy decoding draws nothing"
    sampled = [Decoding(temperature=0.5), Decoding(temperature=0.5, seed=1), Decoding(temperature=0.7)]
    others = [job(decoding=one).settings for one in (*sampled, Decoding(max_new_tokens=9))]
    assert len({plain, *others, job(prompt="q").settings}) == 6


def test_a_row_rounds_to_a_microsecond_and_says_how_it_ended() -> None:
    seen: Any = SimpleNamespace(
        clip=Clip("c", Path("c")), times_s=(0.12345678, 1.0), tokens=range(5), notes=("cut off",)
    )
    one = job().row("k", seen, [Reply(Answer((1, 2), True), "p")], 0.12345678)
    assert (one.frames, one.seconds) == ((0.123457, 1.0), 0.123457)
    assert (one.visual_tokens, one.text_tokens, one.new_tokens, one.finish) == (5, 7, 2, "end")
    assert (one.recipe_hash, one.notes, one.start_s, one.end_s) == ("r", ("cut off",), None, None)
    assert job().row("k", seen, [Reply(Answer((1,), False), "p")], 0.0).finish == "length"


def test_a_summary_is_told_as_json() -> None:
    def told(quarantine: Path | None) -> dict[str, Any]:
        summary = Summary(Path("o.jsonl"), 1, 2, 3, quarantine, {".txt": 1}, 4.25)
        assert summary.row() == ["1", "2", "3", "4.2"]
        read = json.loads(json.dumps(summary.to_dict()))
        assert isinstance(read, dict)
        return read

    assert told(None)["quarantine"] is None
    assert told(Path("q.jsonl"))["quarantine"] == "q.jsonl"
    assert told(None)["ignored"] == {".txt": 1}


def test_progress_counts_what_is_done_and_what_is_broken(engine: Engine, films: Path, tmp_path: Path) -> None:
    (films / "9.mp4").write_bytes(b"no film")
    told: list[tuple[str, int, int, str]] = []
    caption(engine, films, tmp_path / "out.jsonl", batch=4, report=lambda *one: told.append((*one, "")[:4]))
    assert [one[1:] for one in told if one[0] == "caption"] == [(0, 4, ""), (4, 4, "1 broken")]


def test_films_are_measured_one_by_one_and_stills_need_no_note(
    engine: Engine, films: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (16, 16)).save(films / "still.png")
    told: list[tuple[str, int, int, str]] = []
    out = tmp_path / "out.jsonl"
    caption(engine, films, out, chunk=1.0, report=lambda *one: told.append((*one, "")[:4]))
    measured = [one[1:3] for one in told if one[0] == "measure films"]
    assert measured[-1] == (len(measured), len(measured))
    rows = {row.clip: row for row in read_rows(out)}
    assert rows["still.png"].notes == ()
    assert rows["still.png"].start_s is None
    assert rows["0.mp4@0-1"].end_s == 1.0


def test_another_folders_clips_of_the_same_names_are_replaced_only_when_asked(
    engine: Engine, films: Path, tmp_path: Path
) -> None:
    other, out = tmp_path / "other", tmp_path / "out.jsonl"
    other.mkdir()
    write_mp4(other / "0.mp4", np.full((4, 16, 16, 3), 200, np.uint8), rate=2)
    caption(engine, films, out)
    with pytest.raises(ConfigError, match="whose names other clips"):
        caption(engine, other, out)
    assert caption(engine, other, out, overwrite=True).captioned == 1
    assert [row.clip for row in read_rows(out)] == ["0.mp4"]


def test_a_question_that_leaves_no_room_for_a_clip_costs_its_row(films: Path, tmp_path: Path) -> None:
    long = "what is it? " * 20
    room = Engine(video_lm(language={"vocab_size": len(LETTERS)}), LETTERS, "wide").text_tokens(long) + 6
    sizes = {"vocab_size": len(LETTERS), "max_position_embeddings": room}
    narrow = Engine(video_lm(language=sizes), LETTERS, "narrow")
    assert caption(narrow, films, tmp_path / "short.jsonl", prompt="what is it?").captioned == 3
    summary = caption(narrow, films, tmp_path / "long.jsonl", prompt=long)
    assert (summary.captioned, summary.broken) == (0, 3)
    assert summary.quarantine is not None
    assert summary.quarantine.read_text(encoding="utf-8").count(f"this language model reads {room}") == 3
