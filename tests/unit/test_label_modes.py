"""What each mode makes of a teacher's answers, and where it says that it comes from."""

from __future__ import annotations

import base64
import inspect
import io
import json
from pathlib import Path
from typing import Any

import pytest
from label_tools import (
    ANSWERS,
    GREEN,
    RED,
    beside,
    film,
    film_all,
    kind_of,
    label,
    lines,
    pictures_of,
    prompt_of,
    provenance,
    recipe,
    teacher,
    usage,
)
from PIL import Image
from served_tools import said, serving

from vidapt.errors import FormatError
from vidapt.formats import open_samples
from vidapt.labelling.cases import read_cases
from vidapt.teaching.modes import find, modes
from vidapt.teaching.rows import read_rows


def test_a_caption_is_a_row_that_training_reads(tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 2)
    out = tmp_path / "labels.jsonl"
    with serving(teacher) as fake:
        summary = label(recipe(fake), clips, out)
    assert (summary.labelled, summary.labels, summary.broken, summary.calls) == (2, 2, 0, 2)
    assert summary.money == pytest.approx(2 * (100 * 1.0 + 20 * 10.0) / 1e6)
    assert [row["video"] for row in lines(out)] == ["clips/0.mp4", "clips/1.mp4"]
    first = next(iter(open_samples(out)))
    assert (first.question, first.answer) == ("describe the video.", ANSWERS["caption"])
    assert [case.true for case in read_cases(out)] == [(ANSWERS["caption"],)] * 2


def test_every_file_of_the_folder_is_a_mode() -> None:
    assert {"caption", "facts", "questions"} <= set(modes())
    assert all(inspect.iscoroutinefunction(find(mode)) for mode in modes())


def test_provenance_is_read_row_by_row_and_refused_by_its_line(tmp_path: Path) -> None:
    clips, out = film_all(tmp_path / "clips", 2), tmp_path / "out.jsonl"
    with serving(teacher) as fake:
        label(recipe(fake), clips, out)
    path = beside(out, "provenance")
    assert [row.to_dict() for row in read_rows(path)] == provenance(out)
    path.write_text(path.read_text() + '{"key": 1}\n')
    with pytest.raises(FormatError, match="jsonl:3: is no row of labels"):
        list(read_rows(path))


def test_frames_and_their_times_are_shown(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a.mp4", 1)
    with serving(teacher) as fake:
        label(recipe(fake), tmp_path / "clips", tmp_path / "out.jsonl")
    (heard,) = fake.heard
    sizes = [_opened(url).size for url in pictures_of(heard)]
    assert sizes == [(48, 32)] * 4
    (row,) = provenance(tmp_path / "out.jsonl")
    assert row["frames"] == [0.25, 0.75, 1.25, 1.75]
    told = [one["text"] for one in heard["messages"][0]["content"] if one["type"] == "text"][:-1]
    assert told == ["[0.25 s]", "[0.75 s]", "[1.25 s]", "[1.75 s]"]
    assert "0.25 s, 0.75 s, 1.25 s, 1.75 s" in prompt_of(heard)


@pytest.mark.parametrize(
    ("frames", "shown"),
    [
        ({"count": 3, "moving": 1}, 3),
        ({"count": 3, "moving": 2, "moving_above": 1}, 6),
        ({"count": 3, "moving": 2, "moving_above": 255}, 3),
        ({"count": 1, "every_s": 0.5, "moving": 1}, 4),
        ({"count": 2, "moving": 8, "moving_above": 1, "cap": 3}, 3),
    ],
)
def test_longer_and_livelier_clips_have_more_frames(
    frames: dict[str, Any], shown: int, tmp_path: Path
) -> None:
    film(tmp_path / "clips" / "a.mp4", 1)
    with serving(teacher) as fake:
        label(recipe(fake, frames=frames), tmp_path / "clips", tmp_path / "out.jsonl")
    assert len(pictures_of(fake.heard[0])) == shown


def test_frames_are_made_smaller_and_never_larger(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a.mp4", 1)
    with serving(teacher) as fake:
        settings = recipe(fake, frames={"count": 1, "moving": 1, "side": 32})
        label(settings, tmp_path / "clips", tmp_path / "out.jsonl")
    assert _opened(pictures_of(fake.heard[0])[0]).size == (32, 21)


def test_a_caption_of_facts_names_the_facts_of_each_clause(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a.mp4", 1)
    with serving(teacher) as fake:
        label(recipe(fake, "facts"), tmp_path / "clips", tmp_path / "out.jsonl")
    assert [kind_of(body) for body in fake.heard] == ["facts", "write"]
    assert pictures_of(fake.heard[1]) == []
    assert "f1 [0.2-0.4 s] red ball | hits | blue ball (fast)" in prompt_of(fake.heard[1])
    (row,) = provenance(tmp_path / "out.jsonl")
    (made,) = row["labels"]
    assert made["text"] == "The red ball hits the blue ball, and the green ball rolls into the left pocket."
    assert [(part["facts"], part["borne_out"]) for part in made["parts"]] == [(["f1"], 1.0), (["f2"], 1.0)]
    assert [fact["subject"] for fact in row["facts"]] == ["red ball", "green ball"]
    schema = fake.heard[0]["response_format"]["json_schema"]
    assert schema["strict"]
    fact = schema["schema"]["$defs"]["Stated"]
    assert sorted(fact["required"]) == sorted(RED)
    assert not fact["additionalProperties"]


def test_longer_clips_are_asked_about_in_segments_and_what_differs_between_them(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a.mp4", 1, frames=24)  # 6 s
    with serving(teacher) as fake:
        settings = recipe(fake, "facts", facts={"segment_s": 2.0, "beside": 1})
        label(settings, tmp_path / "clips", tmp_path / "out.jsonl")
    kinds = [kind_of(body) for body in fake.heard]
    assert sorted(kinds) == ["difference"] * 2 + ["facts"] * 3 + ["write"]
    asked = sorted(prompt_of(b) for b, kind in zip(fake.heard, kinds, strict=True) if kind == "facts")
    assert ["from 0 s to 2 s" in asked[0], "from 2 s to 4 s" in asked[1]] == [True, True]
    per_segment = [len(pictures_of(b)) for b, kind in zip(fake.heard, kinds, strict=True) if kind == "facts"]
    assert per_segment == [4, 4, 4]
    differences = [b for b, kind in zip(fake.heard, kinds, strict=True) if kind == "difference"]
    assert [len(pictures_of(body)) for body in differences] == [2, 2]
    (row,) = provenance(tmp_path / "out.jsonl")
    # Each segment states its facts within its own time.
    assert [(fact["start_s"], fact["end_s"]) for fact in row["facts"][::2]] == [
        (0.2, 0.4),
        (2.0, 2.0),
        (4.0, 4.0),
    ]


def test_questions_are_rows_with_their_types_and_facts(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a.mp4", 1)
    with serving(teacher) as fake:
        label(recipe(fake, "questions"), tmp_path / "clips", tmp_path / "out.jsonl")
    rows = lines(tmp_path / "out.jsonl")
    assert [(row["id"], row["facts"]["type"]) for row in rows] == [
        ("a.mp4#1", "first_hit"),
        ("a.mp4#2", "question"),
    ]
    (row,) = provenance(tmp_path / "out.jsonl")
    assert [one["parts"][0]["facts"] for one in row["labels"]] == [["f1"], ["f2"]]


def test_facts_need_the_votes_of_two_voices(tmp_path: Path) -> None:
    def voices(body: dict[str, Any]) -> dict[str, Any]:
        if kind_of(body) != "facts":
            clauses = [{"text": "The red ball hits the blue ball.", "facts": ["f1"]}]
            return said(json.dumps({"clauses": clauses}), **usage())
        facts = [[RED, GREEN], [RED], [RED | {"object": "two blue balls"}]][body["seed"]]
        return said(json.dumps({"facts": facts}), **usage())

    film(tmp_path / "clips" / "a.mp4", 1)
    with serving(voices) as fake:
        settings = recipe(fake, "facts", samples=3, decoding={"temperature": 0.7})
        label(settings, tmp_path / "clips", tmp_path / "out.jsonl")
    (row,) = provenance(tmp_path / "out.jsonl")
    assert [(fact["subject"], fact["votes"], fact["of"]) for fact in row["facts"]] == [("red ball", 2, 3)]
    assert row["flags"] == ["facts_left_out"]
    # [RED, GREEN] and [RED] share 2/3 by F1; the third shares nothing: its number is another one.
    assert row["agreement"] == pytest.approx((2 / 3 + 0 + 0) / 3, abs=1e-3)
    assert sorted(body["seed"] for body in fake.heard if kind_of(body) == "facts") == [0, 1, 2]


def test_several_teachers_are_asked_and_the_central_caption_is_kept(tmp_path: Path) -> None:
    texts = {
        "a": "A dog sleeps.",
        "b": "The red ball hits the blue ball.",
        "c": "The red ball hits the blue one.",
    }
    film(tmp_path / "clips" / "a.mp4", 1)
    with serving(lambda body: said(texts[body["model"]], **usage())) as fake:
        teachers = [{"url": fake.url, "model": name} for name in texts]
        settings = recipe(fake, endpoint={}).model_copy()
        settings = type(settings).model_validate(settings.model_dump() | {"teachers": teachers})
        label(settings, tmp_path / "clips", tmp_path / "out.jsonl")
    (row,) = provenance(tmp_path / "out.jsonl")
    assert row["labels"][0]["text"] == texts["b"]
    assert [(voice["teacher"], voice["agreement"]) for voice in row["voices"]] == [
        ("a", 0.0),
        ("b", 0.5),
        ("c", 0.5),
    ]


def test_only_where_voices_agree_too_little_more_frames_are_shown(tmp_path: Path) -> None:
    def voices(body: dict[str, Any]) -> dict[str, Any]:
        closer = len(pictures_of(body)) > 4
        calm = pictures_of(body)[0] == sight["calm"]
        text = (
            "The red ball hits the blue ball."
            if closer or calm
            else ["A dog sleeps.", "It rains."][body["seed"]]
        )
        return said(text, **usage())

    clips = tmp_path / "clips"
    film(clips / "calm.mp4", 1)
    sight: dict[str, str] = {}
    with serving(teacher) as fake:
        label(recipe(fake), clips, tmp_path / "first.jsonl")
        sight["calm"] = pictures_of(fake.heard[0])[0]
    film(clips / "odd.mp4", 2)
    how: dict[str, Any] = {"samples": 2, "decoding": {"temperature": 1.0}, "again": {"below": 0.5}}
    with serving(voices) as fake:
        summary = label(recipe(fake, **how), clips, tmp_path / "out.jsonl")
    calm, odd = provenance(tmp_path / "out.jsonl")
    assert summary.calls == 2 + 4
    assert (calm["rounds"], len(calm["frames"]), calm["agreement"]) == (1, 4, 1.0)
    assert (odd["rounds"], len(odd["frames"]), odd["agreement"]) == (2, 8, 1.0)


def test_what_voices_never_agree_on_is_flagged_or_dropped(tmp_path: Path) -> None:
    film(tmp_path / "clips" / "a.mp4", 1)
    how: dict[str, Any] = {"samples": 2, "decoding": {"temperature": 1.0}}
    with serving(lambda body: said(["A dog sleeps.", "It rains."][body["seed"]], **usage())) as fake:
        label(recipe(fake, again={"below": 0.5}, **how), tmp_path / "clips", tmp_path / "kept.jsonl")
        summary = label(
            recipe(fake, again={"drop_below": 0.5}, **how), tmp_path / "clips", tmp_path / "dropped.jsonl"
        )
    assert provenance(tmp_path / "kept.jsonl")[0]["flags"] == ["low_agreement"]
    assert (summary.labelled, summary.broken) == (0, 1)
    (broken,) = lines(beside(tmp_path / "dropped.jsonl", "quarantine"))
    assert "agree 0.00, less than 0.5" in broken["reason"]
    assert broken["calls"] == 2


def test_pictures_and_parts_of_the_answer_that_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    Image.new("RGB", (64, 40), "red").save(tmp_path / "clips" / "still.png")

    def cut(body: dict[str, Any]) -> dict[str, Any]:
        return {"choices": [{"message": {"content": "A red"}, "finish_reason": "length"}], **usage()}

    with serving(cut) as fake:
        label(recipe(fake), tmp_path / "clips", tmp_path / "out.jsonl")
    assert len(pictures_of(fake.heard[0])) == 1
    (row,) = provenance(tmp_path / "out.jsonl")
    assert (row["flags"], row["length_s"], row["voices"][0]["cut_off"]) == (["cut_off"], 0.0, True)


def _opened(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
