"""Answers from a VideoLM: a prefix is read once for its questions, and rows of any length share a batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from vidapt.errors import BudgetError
from vidapt.models.decoding import Answer, Decoding, Told
from vidapt.models.memory import is_out_of_memory, release
from vidapt.models.packed import Group, prefix_layout
from vidapt.models.reach import REMEDY, reach_of, room, sequence
from vidapt.models.reading import Asked, one_by_one
from vidapt.models.running import Running, Writing
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM

READ_TOKENS = 8192
"""Of prefixes that are read at once; more takes memory, and no time less."""

_FREE_SHARE = 4
"""Others join once one place in so many is free: joining copies what is being written."""


@torch.inference_mode()
def generate(
    model: VideoLM,
    groups: Sequence[Group],
    visual: Sequence[Tensor | None],
    stops: Sequence[int],
    decoding: Decoding,
    seeds: Sequence[int] | None = None,
    times: Sequence[int] | None = None,
    told: Told | None = None,
    places: int | None = None,
) -> list[list[Answer]]:
    """Answer every question of every group.

    An answer depends on its own group, question and seed, not on what else is asked at the same time. It ends
    at the latest where the language model's positions do. A question that is answered several times is read
    once, as its prefix is. If memory ends, fewer answers are written at a time.

    Args:
        model: In evaluation mode.
        groups: Questions behind their prefixes; each encoded with an open answer.
        visual: [V, D] visual tokens of each group's clips, None without clips.
        stops: Token ids that end an answer.
        decoding: How tokens are chosen.
        seeds: Of each answer's sampling, group after group; None gives all of them `decoding.seed`.
        times: How often each question is answered, group after group; None is once.
        told: Is told every token as it is written, and may end an answer there. If memory ended, it hears
            some answers from their beginning again.
        places: Answers that are written at a time; as some end, others take their places. None is all. A
            group's answers begin together, so that more of them are written if one has more.

    Returns:
        Per group, per question, its answer, or its answers one after the other.

    Raises:
        BudgetError: If a question behind its clips is longer than the language model reads.
    """
    jobs = _jobs(model, groups, visual, decoding, seeds, times)
    rows = sum(job.asked.rows for job in jobs)
    if rows > (places or rows) or sum(job.tokens for job in jobs) > READ_TOKENS:
        # The longest first: those of like length are read together, with little padding.
        jobs.sort(key=lambda job: -job.tokens)
    if jobs:
        running = Running(model, stops, told, share=any(job.asked.rows > 1 for job in jobs))
        _carry_out(running, jobs, places or rows)
    found: list[list[Answer]] = [[] for _ in groups]
    for job in sorted(jobs, key=lambda job: job.first):
        found[job.group] += [one.answer for one in job.answers]
    return found


class _Job:
    """A group of questions with its answers.

    Args:
        group: Its number.
        asked: The questions.
        answers: As many as there are to be.
        tokens: Length of the prefix.
    """

    def __init__(self, group: int, asked: Asked, answers: list[Writing], tokens: int) -> None:
        self.group, self.asked, self.answers, self.tokens = group, asked, answers, tokens
        self.left = set(answers)
        self.first = answers[0].number


def _jobs(
    model: VideoLM,
    groups: Sequence[Group],
    visual: Sequence[Tensor | None],
    decoding: Decoding,
    seeds: Sequence[int] | None,
    times: Sequence[int] | None,
) -> list[_Job]:
    """What is asked, group after group."""
    counts = iter(times or [1] * sum(len(group.encoded) for group in groups))
    jobs: list[_Job] = []
    number = 0
    each = [
        (at, part, tokens)
        for at, (group, tokens) in enumerate(zip(groups, visual, strict=True))
        for part in one_by_one(model, group)
    ]
    for at, group, tokens in each:
        rooms = tuple(room_for(model, group, encoded, decoding) for encoded in group.encoded)
        asked = Asked(group, tokens, rooms, tuple(next(counts) for _ in rooms))
        most = [room for room, count in zip(rooms, asked.times, strict=True) for _ in range(count)]
        answers = [
            Writing(number + i, room, decoding, decoding.seed if seeds is None else seeds[number + i])
            for i, room in enumerate(most)
        ]
        number += len(answers)
        jobs.append(_Job(at, asked, answers, len(prefix_layout(group.encoded[0].prefix, group.clips)[0])))
    return jobs


def room_for(model: VideoLM, group: Group, encoded: Encoded, decoding: Decoding) -> int:
    """How many tokens the answer to a question may have.

    Raises:
        BudgetError: If the question behind its clips is longer than the language model reads.
    """
    reach = reach_of(model)
    tokens, end = sequence(model.positions, encoded.prefix, group.clips, len(encoded.ids))
    if reason := reach.excess(tokens, end, packed=False):
        raise BudgetError("question", f"with what it is about it is {reason}", REMEDY)
    return room(model.positions, end, reach.positions, decoding.max_new_tokens)


def _carry_out(running: Running, jobs: Sequence[_Job], places: int) -> None:
    """Write all answers, so many at a time."""
    waiting = deque(jobs)
    inside: list[_Job] = []
    while waiting or inside:
        try:
            free = places - len(running.alive)
            if waiting and (not inside or free * _FREE_SHARE >= places):
                coming = _next(waiting, free, alone=not inside)
                inside += coming
                if coming:
                    _join(running, coming)
            for one in running.step():
                owner = next(job for job in inside if one in job.left)
                owner.left.discard(one)
            inside = [job for job in inside if job.left]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(inside) < 2:
                raise
            places = max(1, sum(len(job.left) for job in inside) // 2)
            _begin_again(running, inside, waiting)
            inside = []


def _next(waiting: deque[_Job], free: int, *, alone: bool) -> list[_Job]:
    """The next questions for which there is room, and at least one if nothing else is written."""
    coming: list[_Job] = []
    rows = tokens = 0
    while waiting:
        job = waiting[0]
        first = alone and not coming
        if not first and (rows + job.asked.rows > free or (tokens and tokens + job.tokens > READ_TOKENS)):
            break
        coming.append(waiting.popleft())
        rows, tokens = rows + job.asked.rows, tokens + job.tokens
    return coming


def _join(running: Running, coming: Sequence[_Job]) -> None:
    running.join([job.asked for job in coming], [one for job in coming for one in job.answers])


def _begin_again(running: Running, inside: Sequence[_Job], waiting: deque[_Job]) -> None:
    """Put back what was being written, to be written by fewer at a time."""
    running.clear()
    release()
    for job in reversed(inside):
        # Those of its answers that have ended are written once more, since what was read of it is gone.
        job.left = set(job.answers)
        for one in job.answers:
            one.begin_again()
        waiting.appendleft(job)
