"""Text around clips and their slices: what may be written, where it stands, and when it is about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tokenizers.processors import TemplateProcessing
from training_tools import blueprint, tokenizer, video_lm, write_clips

from vidapt.errors import ConfigError
from vidapt.inference.engine import Engine
from vidapt.models.clip_rows import visual_tokens
from vidapt.models.layout import marked
from vidapt.models.packed import Words, reading_length, spell
from vidapt.models.reach import Lengths
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Grid, Moments, Plan, Stamp, Tokens
from vidapt.recipe import Blueprint, Cache, TimeText
from vidapt.recipe.time_text import filled, is_timed
from vidapt.training.footage import Footage
from vidapt.video import write_mp4

WHEN = Moments((0.5, 1.5, 65.25), 70.0)
LETTERS = tokenizer()


def words(text: str, moments: Moments = WHEN, **about: Any) -> str:
    stamp = Stamp(text, **{"first": 0, "last": 1, "number": 1, **about})
    return filled(stamp, 2, moments)


@pytest.mark.parametrize(
    ("text", "about", "shown"),
    [
        ("<{seconds:.1f} seconds>", {}, "<1.0 seconds>"),
        ("{seconds:.2f}", {"moment": "first"}, "0.50"),
        ("{seconds:.0f}", {"moment": "last"}, "2"),
        ("{seconds:.1f}", {"first": 2, "last": 3}, "65.2"),  # beyond the last frame, that one again
        ("{clock}", {"first": 2, "last": 2}, "01:05"),
        ("Frame{number}: ", {"number": 4}, "Frame4: "),
        ("{frames} {frames_in_words}", {}, "3 three"),
        ("{length:.2f} {length_clock}", {}, "70.00 0:01:10"),
        ("{moments}", {}, "0.50s,1.50s,65.25s"),
        ("{index}", {}, "2"),
    ],
)
def test_fields_are_written_out(text: str, about: dict[str, Any], shown: str) -> None:
    assert TimeText(before=text).before == text
    assert words(text, **about) == shown


def test_long_films_and_many_frames() -> None:
    late = Moments(tuple(float(second) for second in range(128)), 36_061.9)
    assert words("{length_clock}", late) == "10:01:01"
    assert words("{frames_in_words}", late) == "one hundred and twenty-eight"
    assert words("{clock}", Moments((6000.0,), 6001.0), last=0) == "100:00"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "{second}",
            "{seconds.real}",
            "{seconds[0]}",
            "{seconds!r}",
            "{seconds:1000000000d}",
            "{0}",
            "{",
            "{}",
        ),
        # known ways of writing another kind of value, which would fail at the first clip
        *("{seconds:d}", "{length:02d}", "{clock:.1f}", "{moments:d}", "{frames_in_words:g}", "{number:.1f}"),
        "a" * 100_000,
    ],
)
def test_what_nobody_can_fill_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TimeText(before=text)


def test_only_some_texts_need_to_know_when() -> None:
    assert all(map(is_timed, ("{seconds:.1f}", "{clock}", "{moments}", "{length:.1f}", "{length_clock}")))
    assert not any(map(is_timed, ("Frame{number} of {frames}: ", "<img>", "{index}", "{frames_in_words}")))


def test_short_ways_of_writing_it() -> None:
    def read(times: Any) -> Any:
        return Blueprint.model_validate(blueprint(times=times)).times

    before = TimeText(before="{seconds:.1f}")
    assert read("{seconds:.1f}") == {"video": before}
    assert read({"before": "{seconds:.1f}"}) == {"video": before}
    assert read({"video": {"before": "{seconds:.1f}"}, "image": {"intro": "<"}}) == {
        "video": before,
        "image": TimeText(intro="<"),
    }
    with pytest.raises(ValidationError):
        read({"film": {"before": "{seconds:.1f}"}})


FULL = {"intro": "[", "before": "<{seconds:.1f}>", "between": ", ", "after": ";", "outro": "]"}


def model(times: Any = FULL, **changes: Any) -> VideoLM:
    return video_lm(times=times, language={"vocab_size": len(LETTERS)}, **changes)


def test_slices_stand_between_their_texts() -> None:
    plan, layout = model().plan((16, 16), 3)
    one = (Grid(1, 2, 2), 0)
    assert [piece if isinstance(piece, tuple) else piece.text for piece in layout] == [
        *("[", "<{seconds:.1f}>", one, ";, ", "<{seconds:.1f}>", one),
        *(";, ", "<{seconds:.1f}>", one, ";", "]"),
    ]
    read = LETTERS.decode(
        [
            token
            for piece in spell(layout, 0, LETTERS, WHEN)
            if isinstance(piece, Words)
            for token in piece.ids
        ]
    )
    assert "".join(read.split()) == "[<0.5>;,<1.5>;,<65.2>;]"
    assert plan.frames == 3


def test_texts_side_by_side_become_ids_together() -> None:
    layout = model().plan((16, 16), 3)[1]
    first, *_ = spell(layout, 0, LETTERS, WHEN)
    assert first == Words(tuple(LETTERS("[<0.5>", add_special_tokens=False).input_ids))


def test_spans_carry_the_second_at_which_each_slice_begins() -> None:
    times = [
        piece[2]
        for piece in spell(model().plan((16, 16), 3)[1], 0, LETTERS, WHEN)
        if not isinstance(piece, Words)
    ]
    assert times == [(0.5,), (1.5,), (65.25,)]
    whole = spell(model({}).plan((16, 16), 3)[1], 0, LETTERS, WHEN)
    assert whole == ((Grid(3, 2, 2), 0, WHEN.seconds),)
    assert spell(model({}).plan((16, 16), 3)[1], 0, LETTERS) == ((Grid(3, 2, 2), 0),)


def test_a_still_has_no_times() -> None:
    layout = model().plan((16, 16), 1)[1]
    assert layout == ((Grid(1, 2, 2), 0),)
    around = model({"image": {"intro": "<", "outro": ">"}}).plan((16, 16), 1)[1]
    assert [piece if isinstance(piece, tuple) else piece.text for piece in around] == [
        "<",
        (Grid(1, 2, 2), 0),
        ">",
    ]


def test_tokens_are_the_same_with_and_without_text() -> None:
    timed, plain = model(), model({})
    views = timed.cut(torch.randint(0, 255, (3, 16, 16, 3), dtype=torch.uint8), moments=WHEN)
    read = timed.read(timed.see_views(views))
    assert sum(isinstance(piece, Tokens) for piece in read) == 3
    assert torch.equal(visual_tokens(read), visual_tokens(plain.read(plain.see_views(views))))


@pytest.mark.parametrize("times", ["{seconds:.1f}", {"outro": "{moments}"}])
def test_unknown_moments_are_never_made_up(times: Any) -> None:
    layout = model(times).plan((16, 16), 3)[1]
    with pytest.raises(ConfigError, match="nobody knows when the frames were"):
        spell(layout, 0, LETTERS)
    assert spell(model("f{number} ").plan((16, 16), 3)[1], 0, LETTERS)


def test_slices_need_a_clip_that_is_read_in_one_piece() -> None:
    text = TimeText(before="{seconds:.1f}")
    tokens = Tokens(torch.zeros(1, 4, 8), Grid(1, 2, 2))
    plan = Plan(1, (), (8, 8))
    assert marked([tokens, "mark", tokens], TimeText(intro="<"), plan)[2:] == ["mark", tokens]
    with pytest.raises(ValueError, match="read in several pieces here"):
        marked([tokens, "mark", tokens], text, plan)


def test_what_enters_deeper_down_goes_with_its_slice() -> None:
    x = torch.arange(12.0).reshape(1, 12, 1)
    tokens = Tokens(x, Grid(2, 2, 2), 4, (x + 100,))
    read = marked([tokens], TimeText(before="-"), Plan(2, (), (8, 8)))
    first, second = (piece for piece in read if isinstance(piece, Tokens))
    assert (first.grid, first.extra, second.grid, second.extra) == (Grid(1, 2, 2), 0, Grid(1, 2, 2), 4)
    assert first.deep[0].flatten().tolist() == [100, 101, 102, 103]
    assert second.x.flatten().tolist() == list(range(4, 12))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), clips=3, questions=2)


def clips(labels: Path) -> list[Clip]:
    names = dict.fromkeys(json.loads(line)["video"] for line in labels.read_text().splitlines())
    return [Clip(name, labels.parent / name) for name in names]


def test_answers_depend_on_when_frames_were(tmp_path: Path) -> None:
    film = np.full((6, 16, 16, 3), 90, np.uint8)  # the same pixels, however they are encoded
    for name, rate in (("fast", 6.0), ("slow", 0.5)):
        write_mp4(tmp_path / f"{name}.mp4", film, rate=rate)

    def ask(times: Any, name: str) -> torch.Tensor:
        engine = Engine(model(times).eval(), LETTERS, "tiny")
        return engine.logits(tmp_path / f"{name}.mp4", "what?", "red")[1]

    assert not torch.allclose(ask(FULL, "fast"), ask(FULL, "slow"), atol=1e-4)
    assert torch.allclose(ask({}, "fast"), ask({}, "slow"), atol=1e-6)


@pytest.mark.parametrize("keep", ["features", "frames", "nothing"])
def test_kept_clips_keep_their_moments(labels: Path, tmp_path: Path, keep: str) -> None:
    eyes = model()
    footage = Footage(
        eyes, Cache(keep=keep), tmp_path, tower_trains=keep == "frames", needs_views=False, workers=0
    )
    items = [(clip, 1) for clip in clips(labels)]
    footage.prepare(items, lambda done, total: None)
    fresh = [footage.model.cut(torch.zeros(3, 16, 16, 3, dtype=torch.uint8), moments=WHEN).moments]
    seen = footage.seen(items) if keep == "features" else footage.views(items)
    assert fresh == [(WHEN,)]
    moments = [one for group in seen for one in group.moments]
    assert len(moments) == 3
    assert all(len(one.seconds) == 3 and one.length > 0 for one in moments)
    engine = Engine(eyes, LETTERS, "tiny")
    (watched,) = engine.watch_batches([[clip for clip, _ in items]], workers=0)
    assert [one.moments for one in watched] == moments  # type: ignore[union-attr]


def test_the_tokens_of_a_clip_are_counted_before_it_is_decoded(labels: Path) -> None:
    eyes = model()
    engine = Engine(eyes, LETTERS, "tiny")
    lengths = Lengths(eyes, LETTERS)
    for clip in clips(labels):
        ((seen,),) = engine.watch_batches([[clip]], workers=0)
        said = spell(seen.layout, 0, LETTERS, seen.moments)  # type: ignore[union-attr]
        assert reading_length(lengths.reading(clip, 0, 1)) == reading_length(said)
        assert reading_length(said) <= min(lengths.most(1), engine.clip_tokens)


def test_text_between_tokens_gets_no_marks_of_a_tokenizers_own() -> None:
    marking = tokenizer()
    plain = spell(("ball ",), 0, marking)
    mark = len(marking) - 1
    marking.backend_tokenizer.post_processor = TemplateProcessing(
        single="</s> $A </s>", special_tokens=[("</s>", mark)]
    )
    assert marking("ball").input_ids[0] == mark
    assert spell(("ball ",), 0, marking) == plain
    assert spell(("ball",), 0, marking) == spell(("ball",), 0, tokenizer())
