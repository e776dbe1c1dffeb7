"""Several replies about one clip: settings, facets, cues, and rows of captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caption_folder_tools import counts, run
from caption_tools import CLIPS, film_all, lines, quarantine, said, save_tiny_model
from pydantic import ValidationError

from vidapt.captioning.rows import CaptionRow, read_rows
from vidapt.captioning.store import worker
from vidapt.cleaning.captions import captioned
from vidapt.errors import BrokenClip, BudgetError, ConfigError, FormatError
from vidapt.inference import several as several_module
from vidapt.inference.cues import Bank, bank, with_cue
from vidapt.inference.diversity import MOST, WAYS, Cues, Diversity, diversity_of
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.inference.several import Several
from vidapt.models.sampling import ByEntropy, Cooling
from vidapt.nouns import Clip
from vidapt.strict import Strict

WARM = Diversity(temperature=1.0)
SHORT = {"max_new_tokens": 8}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return load(save_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_all(tmp_path_factory.mktemp("filmed"))


@pytest.fixture(scope="module")
def labels(filmed: Path) -> Path:
    path = filmed.parent / f"{filmed.name}-labels.jsonl"
    films = sorted(filmed.rglob("*.mp4"))
    rows = [
        {"video": str(film), "caption": f"a caption of number {at}, in my style"}
        for at, film in enumerate(films)
    ]
    rows += [{"id": "short", "video": str(films[0]), "question": "what?", "answer": "red"}]
    rows += [{"id": "marked", "video": str(films[1]), "caption": "one that has <video> in it, and is longer"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_first_reply_is_that_of_one_question_and_all_depend_on_seeds_alone(
    engine: Engine, filmed: Path
) -> None:
    film = next(filmed.glob("*.mp4"))
    many = engine.captions(film, 6, WARM, **SHORT)
    assert many[0] == engine.caption(film, temperature=1.0, **SHORT)
    assert engine.captions(film, 3, WARM, **SHORT) == many[:3]
    assert len(set(many)) > 3
    assert engine.captions(film, 6, WARM.model_copy(update={"seed": 1}), **SHORT) != many
    assert engine.ask_many([film, film], "what?", 2, WARM, **SHORT)


def test_facets_are_asked_in_turn(engine: Engine, filmed: Path) -> None:
    film = next(filmed.glob("*.mp4"))
    way = Diversity(temperature=0, facets=("the ball?", "the player?"))
    assert engine.captions(film, 2, way, **SHORT) == engine.ask_all(film, way.facets, **SHORT)
    warm = way.model_copy(update={"temperature": 1.0})
    assert warm.asked("?", 5) == ["the ball?", "the player?"] * 2 + ["the ball?"]
    found = engine.captions(film, 5, warm, **SHORT)
    ball = engine.ask_many(film, "the ball?", 3, WARM, **SHORT)
    assert [found[0], found[2], found[4]] == ball
    assert [found[1], found[3]] == engine.ask_many(film, "the player?", 2, WARM, **SHORT)


@pytest.mark.parametrize(
    ("n", "way", "told"),
    [
        (0, {}, "n: 0 replies"),
        (MOST + 1, {}, "n: 65 replies"),
        (2, {"temperature": 0}, "2 replies to 1 question"),
        (3, {"temperature": 0, "facets": ("a", "b")}, "3 replies to 2 question"),
        (2, {"facets": ("a", "a")}, "one is given twice"),
        (2, {"facets": ("<video> a",)}, "holds the mark"),
        (2, {"cooling": Cooling(), "entropy": ByEntropy()}, "both move the temperature"),
        (2, {"temperature": 0, "entropy": ByEntropy()}, "which entropy cannot make warmer"),
        (2, {"cues": Cues(labels=Path("l"), words="like $text")}, "lacks"),
    ],
)
def test_what_cannot_be_is_refused_before_work(n: int, way: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("$", r"\$")):
        Diversity(**way).check(n)


def test_a_file_says_how_and_every_mistake_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "way.yaml"
    path.write_text("temperature: 0.5\ncooling: {first: 2}\ncues: {labels: my.jsonl}\nfacets: [the ball]\n")
    found = diversity_of(path)
    assert (found.temperature, found.cooling) == (0.5, Cooling(first=2.0))
    assert found.cues is not None
    assert found.cues.labels == tmp_path / "my.jsonl"
    path.write_text("temperature: -1\nmin_q: 3\nfacets: ['']\n")
    with pytest.raises(ConfigError) as caught:
        diversity_of(path)
    assert "3 mistake(s)" in str(caught.value)
    assert all(f"line {at}" in str(caught.value) or f":{at}" in str(caught.value) for at in (1, 2, 3))
    path.write_text("- a\n")
    with pytest.raises(ConfigError, match="describes no diversity"):
        diversity_of(path)
    with pytest.raises(ConfigError, match="neither a way nor a file"):
        diversity_of("colling")
    for name, way in WAYS.items():
        way.check(5)
        assert diversity_of(name) is way


EDGES: list[tuple[type[Strict], str, list[Any], list[Any]]] = [
    (Cooling, "first", [0, 100], [-1e-9, 100.1]),
    (Cooling, "tokens", [1e-9, 100_000], [0, 100_001]),
    (ByEntropy, "theta", [0, 1000], [-1e-9, 1001]),
    (Diversity, "temperature", [0, 100], [-1e-9, 100.1]),
    (Diversity, "top_p", [1e-9, 1], [0, 1.01]),
    (Diversity, "min_p", [0, 1], [-1e-9, 1.01]),
    (Diversity, "top_h", [1e-9, 1], [0, 1.01]),
    (Diversity, "seed", [0, 2**31 - 1], [-1, 2**31]),
    (Diversity, "facets", [(), ("a",) * MOST], [("a",) * (MOST + 1), (" ",), ("a" * 4001,)]),
    (Cues, "clips", [2, 100_000], [1, 100_001]),
    (Cues, "longest", [1, 100_000], [0, 100_001]),
    (Cues, "words", ["a"], ["", " ", "a" * 4001]),
]


@pytest.mark.parametrize(("model", "name", "taken", "refused"), EDGES)
def test_numbers_go_as_far_as_their_edges(
    model: type[Strict], name: str, taken: list[Any], refused: list[Any]
) -> None:
    needed = {"labels": "l.jsonl"} if model is Cues else {}
    for value in taken:
        assert getattr(model.model_validate({**needed, name: value}), name) == value
    for value in refused:
        with pytest.raises(ValidationError):
            model.model_validate({**needed, name: value})


def seen_of(engine: Engine, film: Path) -> Any:
    return next(engine.watch([Clip(film.name, film)], workers=0))


def test_cues_are_captions_of_the_nearest_clips_of_other_sources(
    engine: Engine, filmed: Path, labels: Path
) -> None:
    found = bank(engine, Cues(labels=labels), engine.text_tokens)
    assert len(found.texts) == CLIPS, "answers and captions with marks are no cues"
    film = found.clips[3].path
    seen = seen_of(engine, film)
    near = found.near(seen, CLIPS + 1)
    assert isinstance(near, list)
    assert found.texts[3] not in near
    assert len(set(near)) == CLIPS - 1
    assert near[-2:] == near[:2], "over again, where there are too few"
    own = seen.tokens.mean(0).double().numpy() - found.mean
    cosine = [own @ vector / np.linalg.norm(own) for vector in found.vectors]
    order = [at for at in np.argsort(cosine)[::-1] if at != 3]
    assert near[: CLIPS - 1] == [found.texts[at] for at in order]


def test_a_copy_elsewhere_and_the_same_session_are_no_other_source(
    engine: Engine, filmed: Path, labels: Path, tmp_path: Path
) -> None:
    found = bank(engine, Cues(labels=labels), engine.text_tokens)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(found.clips[0].path.read_bytes())
    near = found.near(seen_of(engine, copy), CLIPS)
    assert isinstance(near, list)
    assert found.texts[0] not in near
    by_day = bank(engine, Cues(labels=labels, by=f"({filmed.name})"), engine.text_tokens)
    assert isinstance(by_day.near(seen_of(engine, found.clips[0].path), 2), BrokenClip)


def test_labels_without_captions_are_refused(engine: Engine, filmed: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    film = next(filmed.glob("*.mp4"))
    path.write_text(json.dumps({"video": str(film), "question": "what?", "answer": "red"}) + "\n")
    with pytest.raises(ConfigError, match="has 0 caption"):
        bank(engine, Cues(labels=path), engine.text_tokens)
    with pytest.raises(FormatError):
        bank(engine, Cues(labels=tmp_path / "none.jsonl"), engine.text_tokens)


def test_captions_that_the_model_cannot_read_are_left_out(engine: Engine, labels: Path) -> None:
    def fits(text: str) -> None:
        if "number 1," in text:
            raise BudgetError("question", "is too long", "shorten it")
        if "number 2," in text:
            raise FormatError("question", "is a special token", "write something else")

    found = bank(engine, Cues(labels=labels), fits)
    assert len(found.texts) == CLIPS - 2
    assert not [text for text in found.texts if "number 1," in text or "number 2," in text]


def test_a_cue_is_text_and_fills_in_nothing() -> None:
    told = with_cue('like "$text": $prompt', "a $prompt that ${text} costs $5", "what?")
    assert told == 'like "a $prompt that ${text} costs $5": what?'


def test_fewer_clips_are_looked_at_by_the_seed(engine: Engine, labels: Path) -> None:
    few = [bank(engine, Cues(labels=labels, clips=3), engine.text_tokens, seed=seed) for seed in (0, 0, 1)]
    assert few[0].texts == few[1].texts != few[2].texts
    assert len(few[0].texts) == 3
    assert few[0].settings == few[1].settings != few[2].settings


def test_every_clip_has_one_row_with_all_its_captions(
    engine: Engine, filmed: Path, labels: Path, tmp_path: Path
) -> None:
    way = Diversity(temperature=0, cues=Cues(labels=labels))
    out = tmp_path / "cued.jsonl"
    assert counts(run(engine, filmed, out, n=3, diversity=way)) == (CLIPS, 0, 0)
    for row in read_rows(out):
        assert (len(row.captions), len(row.prompts), len(row.cues)) == (3, 3, 3)
        assert row.caption == row.captions[0]
        assert all("in my style" in cue for cue in row.cues)
    parquet = tmp_path / "cued.parquet"
    run(engine, filmed, parquet, n=3, diversity=way)
    assert [row.captions for row in read_rows(parquet)] == [row.captions for row in read_rows(out)]
    assert counts(run(engine, filmed, parquet, n=3, diversity=way)) == (0, CLIPS, 0)
    with pytest.raises(ConfigError, match="holds other captions"):
        run(engine, filmed, parquet, n=2, diversity=way)


def test_captions_do_not_depend_on_the_batch_and_a_killed_job_goes_on(
    engine: Engine, filmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"n": 4, "diversity": "plain"}
    run(engine, filmed, tmp_path / "a.jsonl", **given)
    run(engine, filmed, tmp_path / "b.jsonl", batch=1, **given)
    assert said(tmp_path / "a.jsonl") == said(tmp_path / "b.jsonl")
    replies, done = Several.replies, list[int]()

    def dying(self: Several, *asked: Any) -> Any:
        done.append(1)
        if len(done) == 2:
            raise KeyboardInterrupt
        return replies(self, *asked)

    monkeypatch.setattr(worker, "WINDOW", 1)
    monkeypatch.setattr(several_module.Several, "replies", dying)
    with pytest.raises(KeyboardInterrupt):
        run(engine, filmed, tmp_path / "c.jsonl", **given)
    monkeypatch.undo()
    run(engine, filmed, tmp_path / "c.jsonl", **given)
    assert said(tmp_path / "c.jsonl") == said(tmp_path / "a.jsonl")


def test_one_caption_is_what_it_was(engine: Engine, filmed: Path, tmp_path: Path) -> None:
    run(engine, filmed, tmp_path / "one.jsonl")
    row = lines(tmp_path / "one.jsonl")[0]
    assert (row["captions"], row["prompts"], row["cues"]) == ([row["caption"]], [row["prompt"]], None)
    assert row["caption"] == engine.caption(filmed / row["clip"], max_new_tokens=12)


def test_a_clip_without_a_cue_costs_its_row(
    engine: Engine, filmed: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = Bank.near

    def without(self: Bank, seen: Any, count: int) -> Any:
        return (
            BrokenClip(seen.clip.path, "alone") if seen.clip.path.name == "0.mp4" else near(self, seen, count)
        )

    monkeypatch.setattr(Bank, "near", without)
    way = Diversity(cues=Cues(labels=labels))
    out = tmp_path / "out.jsonl"
    assert counts(run(engine, filmed, out, n=2, diversity=way)) == (CLIPS - 1, 0, 1)
    assert lines(quarantine(out)) == [{"clip": "0.mp4", "reason": "alone", "error": "BrokenClip"}]


def test_each_caption_is_a_label_of_its_own() -> None:
    plain: dict[str, Any] = dict.fromkeys(CaptionRow.__dataclass_fields__, "")
    plain |= {"frames": (), "notes": (), "start_s": None, "end_s": None, "cues": ()}
    row = CaptionRow(
        **{
            **plain,
            "clip": "a.mp4",
            "prompt": "p",
            "caption": "x",
            "captions": ("x", "y", "x"),
            "prompts": ("p",) * 3,
        }
    )
    samples = list(captioned([row], Path("c.jsonl")))
    assert [(one.id, one.question, one.answer) for one in samples] == [
        ("a.mp4", "p", "x"),
        ("a.mp4#1", "p", "y"),
    ]
    alone = CaptionRow(
        **{**plain, "clip": "a.mp4", "prompt": "p", "caption": "x", "captions": (), "prompts": ()}
    )
    assert [one.id for one in captioned([alone], Path("c.jsonl"))] == ["a.mp4"]
