"""What is spent, what is kept, and where a job stops."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_tools import film_all, label, lines, provenance, recipe, teacher, usage, without_times
from served_tools import said, serving

from vidapt.chat.asked import Bound, Said, Stop
from vidapt.chat.open import open_speakers
from vidapt.chat.purse import Purse
from vidapt.chat.replies import Kept, Replies, Spent
from vidapt.errors import ConfigError
from vidapt.teaching.foresee import foresee
from vidapt.teaching.job import Source

ONE = (100 * 1.0 + 20 * 10.0) / 1e6
"""What a question of the fake teacher costs."""


@settings(max_examples=60, deadline=None)
@given(
    costs=st.lists(st.tuples(st.floats(0.001, 2), st.floats(0, 1)), max_size=25),
    limit=st.floats(0.5, 10),
    at_once=st.integers(1, 6),
)
def test_no_more_is_ever_spent_than_the_purse_holds(
    costs: list[tuple[float, float]], limit: float, at_once: int
) -> None:
    spent = Spent()
    paid: list[float] = []

    async def one(purse: Purse, room: asyncio.Semaphore, bound: float, share: float) -> None:
        async with room:
            try:
                async with purse.holding(Bound(0, 0, bound)):
                    await asyncio.sleep(0)
                    spent.money += bound * share
                    paid.append(bound * share)
            except Stop:
                return

    async def all_() -> Purse:
        purse, room = Purse(spent, limit, None), asyncio.Semaphore(at_once)
        await asyncio.gather(*(one(purse, room, bound, share) for bound, share in costs))
        return purse

    purse = asyncio.run(all_())
    assert spent.money <= limit + 1e-6
    if not purse.empty:
        assert len(paid) == len(costs)
    else:
        assert spent.money + max(bound for bound, _ in costs) > limit - 1e-6


def test_a_budget_of_money_ends_a_job_with_what_is_done_in_place(tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 5)
    out = tmp_path / "out.jsonl"
    tight = {"max_tokens": 30}
    with serving(teacher) as fake:
        one = open_speakers(recipe(fake, decoding=tight).teachers)[0]
        # The first question reserves its bound; each settles for less, so that some fit and the rest do not.
        shown = label(recipe(fake, decoding=tight), film_all(tmp_path / "probe", 1), tmp_path / "p.jsonl")
        bound = _bound_of(tmp_path / "p.jsonl.replies.jsonl")
        assert shown.money == pytest.approx(ONE)
        limit = bound + 2.5 * ONE
        asked = len(fake.heard)
        budget = recipe(fake, decoding=tight, budget={"money": limit}, endpoint={"concurrency": 2})
        notes: list[str] = []
        summary = label(budget, clips, out, lambda task, done, total, note="": notes.append(note))
        assert notes[-1] == f"3 kept, 0 broken, 0.0009 USD, 360 tokens; {limit - 3 * ONE:.4g} USD left"
        assert len(fake.heard) - asked == 3
        assert (summary.labelled, summary.left) == (3, 2)
        assert summary.money == pytest.approx(3 * ONE)
        assert summary.money <= limit
        assert len(lines(out)) == 3
        again = label(budget, clips, out)
        assert (again.labelled, again.kept, again.left, len(fake.heard) - asked) == (0, 3, 2, 3)
        more = label(recipe(fake, decoding=tight, budget={"money": 1.0}), clips, out)
    assert (more.labelled, more.kept, more.left) == (2, 3, 0)
    assert more.money == pytest.approx(5 * ONE)
    assert one.money(100, 20) == pytest.approx(ONE)


def test_a_budget_of_tokens_ends_a_job(tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 4)
    with serving(teacher) as fake:
        label(recipe(fake), film_all(tmp_path / "probe", 1), tmp_path / "p.jsonl")
        bound = next(line for line in lines(tmp_path / "p.jsonl.replies.jsonl") if "asked" in line)
        limit = bound["read"] + bound["written"] + 2 * 120 + 60
        settings_ = recipe(fake, budget={"tokens": limit}, endpoint={"concurrency": 4})
        summary = label(settings_, clips, tmp_path / "out.jsonl")
    assert (summary.labelled, summary.left, summary.tokens) == (3, 1, 3 * 120)


def test_a_teacher_that_counts_more_than_thought_is_taken_at_its_word(tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 8)
    with serving(lambda _: said("Yes.", **usage(5000, 10))) as fake:
        settings_ = recipe(fake, budget={"tokens": 22_000}, endpoint={"concurrency": 1})
        summary = label(settings_, clips, tmp_path / "out.jsonl")
    # By the first bound, of about 1600 tokens, a fifth question would have fitted behind four of 5010.
    assert (summary.labelled, summary.tokens) == (4, 4 * 5010)
    assert len(fake.heard) == 4


def test_a_server_that_counts_no_tokens_is_counted_by_bounds(tmp_path: Path) -> None:
    with serving(lambda _: said("A ball.")) as fake:
        summary = label(recipe(fake), film_all(tmp_path / "clips", 1), tmp_path / "out.jsonl")
    (row,) = provenance(tmp_path / "out.jsonl")
    assert not row["calls"][0]["told"]
    assert summary.money == pytest.approx(_bound_of(tmp_path / "out.jsonl.replies.jsonl"))


def test_the_same_question_is_asked_once_by_all_jobs_that_share_their_replies(tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 2)
    replies = tmp_path / "replies.jsonl"
    with serving(teacher) as fake:
        label(recipe(fake, "facts"), clips, tmp_path / "facts.jsonl", replies=replies)
        asked = len(fake.heard)
        summary = label(recipe(fake, "questions"), clips, tmp_path / "questions.jsonl", replies=replies)
        assert (
            len(fake.heard) == asked + 1
        )  # what facts were stated is known; they are the same of both clips
        assert summary.calls == 1
        label(recipe(fake, "facts"), clips, tmp_path / "facts.jsonl", replies=replies, overwrite=True)
        assert len(fake.heard) == asked + 1


def test_equal_clips_are_paid_for_once(tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 1)
    (clips / "copy.mp4").write_bytes((clips / "0.mp4").read_bytes())
    with serving(teacher) as fake:
        summary = label(recipe(fake), clips, tmp_path / "out.jsonl")
    assert (summary.labelled, summary.calls, len(fake.heard)) == (2, 1, 1)


def test_replies_tell_what_may_have_been_paid_for(tmp_path: Path) -> None:
    path, bound, kept = (
        tmp_path / "r.jsonl",
        Bound(10, 5, 0.5),
        Kept(Said("x", read=8, written=1), 8, 1, 0.25),
    )
    with Replies(path, "mine") as replies:
        replies.begin("a", "t", bound)
        replies.keep("a", kept)
        replies.begin("b", "t", bound)
        replies.drop("b", bound, paid=False)
        replies.begin("c", "t", bound)
        replies.drop("c", bound, paid=True)
        replies.begin("d", "t", bound)  # and then it is killed
        replies.begin("e", "t", bound)
        replies.drop("e", bound, paid=True)
        replies.begin("e", "t", bound)
        replies.keep("e", kept)
    with Replies(path, "mine") as replies:
        assert replies.get("a") == kept
        assert "b" not in replies
        assert replies.spent == Spent(0.25 + 0.5 + 0.5 + 0.5 + 0.25, 9 + 15 + 15 + 15 + 9, 2, 3)
    with Replies(path, "other") as replies:
        assert replies.get("e") == kept
        assert replies.spent == Spent()


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1))
def test_replies_cut_anywhere_keep_whole_ones(share: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "r.jsonl"
    with Replies(path, "mine") as replies:
        for name in "abc":
            replies.begin(name, "t", Bound(1, 1, 1.0))
            replies.keep(name, Kept(Said(f"«{name}»\u2028", read=1, written=1), 1, 1, 0.5))
    whole = path.read_bytes()
    cut = whole[: round(share * len(whole))]
    path.write_bytes(cut)
    with Replies(path, "mine") as replies:
        got = [name for name in "abc" if replies.get(name) is not None]
        assert len(got) == cut.count(b'"reply"') - (b'"reply"' in cut.rpartition(b"\n")[2])
        asked = cut.rpartition(b"\n")[0].count(b'"asked"')
        assert replies.spent.money == pytest.approx(0.5 * len(got) + (asked - len(got)))


def test_labels_of_another_recipe_are_not_replaced_unasked(tmp_path: Path) -> None:
    clips, out = film_all(tmp_path / "clips", 1), tmp_path / "out.jsonl"
    with serving(teacher) as fake:
        label(recipe(fake), clips, out)
        with pytest.raises(ConfigError, match="another recipe"):
            label(recipe(fake, "facts"), clips, out)
        assert label(recipe(fake, "facts"), clips, out, overwrite=True).labelled == 1
        # Prices, speed and budgets are not what labels depend on.
        same = recipe(fake, "facts", budget={"tokens": 10**6}, endpoint={"concurrency": 2, "price": None})
        assert label(same, clips, out).kept == 1
        (out.with_name("out.jsonl.provenance.jsonl")).unlink()
        with pytest.raises(ConfigError, match="nothing says who made them"):
            label(same, clips, out)


def test_labels_of_another_folder_stay_and_namesakes_are_refused(tmp_path: Path) -> None:
    one, other, out = film_all(tmp_path / "one", 1), film_all(tmp_path / "other", 3), tmp_path / "out.jsonl"
    (other / "0.mp4").rename(other / "9.mp4")
    with serving(teacher) as fake:
        label(recipe(fake), one, out)
        summary = label(recipe(fake), other, out)
        assert (summary.labelled, summary.kept) == (3, 1)
        assert [row["id"] for row in lines(out)] == ["0.mp4", "1.mp4", "2.mp4", "9.mp4"]
        (other / "1.mp4").rename(other / "0.mp4")
        with pytest.raises(ConfigError, match="has that name too"):
            label(recipe(fake), other, out)


def test_a_changed_clip_is_labelled_anew_and_broken_ones_are_tried_again(tmp_path: Path) -> None:
    clips, out = film_all(tmp_path / "clips", 2), tmp_path / "out.jsonl"
    (clips / "bad.mp4").write_bytes(b"none")
    with serving(teacher) as fake:
        assert label(recipe(fake), clips, out).broken == 1
        before = provenance(out)
        (clips / "bad.mp4").write_bytes((clips / "0.mp4").read_bytes())
        (clips / "1.mp4").write_bytes((clips / "0.mp4").read_bytes())
        summary = label(recipe(fake), clips, out)
    assert (summary.labelled, summary.kept, summary.broken) == (2, 1, 0)
    assert without_times(provenance(out))[0] == without_times(before)[0]


@pytest.mark.parametrize("mode", ["caption", "facts", "questions"])
def test_what_is_foreseen_is_what_is_asked(mode: str, tmp_path: Path) -> None:
    clips = film_all(tmp_path / "clips", 3)
    with serving(teacher) as fake:
        settings_ = recipe(fake, mode, samples=2, decoding={"temperature": 1.0}, facts={"segment_s": 1.0})
        told = foresee(
            settings_, open_speakers(settings_.teachers), Source(clips, workers=0), tmp_path / "out.jsonl"
        )
        assert fake.heard == []
        label(settings_, clips, tmp_path / "out.jsonl")
    rows = provenance(tmp_path / "out.jsonl")
    assert told.likely.calls == sum(row["usage"]["calls"] for row in rows)
    assert told.frames == sum(len(row["frames"]) for row in rows)
    assert told.clips == 3
    assert told.seconds == pytest.approx(6.0)
    again = foresee(
        settings_, open_speakers(settings_.teachers), Source(clips, workers=0), tmp_path / "out.jsonl"
    )
    assert (again.clips, again.kept, again.likely.calls) == (0, 3, 0)
    assert 0 < told.likely.money < told.most.money
    assert told.most.calls == (told.likely.calls if mode == "caption" else 2 * told.likely.calls)
    assert json.dumps(told.to_dict())


def _bound_of(replies: Path) -> float:
    return float(next(line["money"] for line in lines(replies) if "asked" in line))


@pytest.mark.parametrize("change", [{"revision": "2"}, {"model": "other"}, {"extra": {"top_k": 5}}])
def test_another_model_or_way_of_sampling_is_asked_anew(change: dict[str, Any], tmp_path: Path) -> None:
    clips, replies = film_all(tmp_path / "clips", 1), tmp_path / "replies.jsonl"
    with serving(teacher) as fake, serving(teacher) as elsewhere:
        label(recipe(fake), clips, tmp_path / "a.jsonl", replies=replies)
        label(recipe(elsewhere), clips, tmp_path / "b.jsonl", replies=replies)
        assert elsewhere.heard == [], "where a model is served is no matter"
        label(recipe(fake, endpoint=change), clips, tmp_path / "c.jsonl", replies=replies)
        assert len(fake.heard) == 2
        with pytest.raises(ConfigError, match="another recipe"):
            label(recipe(fake, endpoint=change), clips, tmp_path / "a.jsonl", replies=replies)
