"""Clips of coming steps are decoded in their order, each once a step, and never further than asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vidapt.nouns import Clip
from vidapt.training.ahead import Ahead

A, B, C = (Clip(name, Path(f"{name}.mp4")) for name in "abc")
STEPS = [[(A, 1), (B, 1), (A, 1)], [(B, 1)], [(C, 1), (A, 2), (A, 1)]]


class Decoder:
    """Gives a clip's name in place of its frames, and tells what it was asked for."""

    def __init__(self) -> None:
        self.decoded: list[list[str]] = []
        self.closed = 0

    def __call__(self, clips: Iterable[Clip]) -> Iterator[Any]:
        own: list[str] = []
        self.decoded.append(own)

        def stream() -> Iterator[Any]:
            try:
                for clip in clips:
                    own.append(clip.id)
                    yield clip, f"frames of {clip.id}"
            finally:
                self.closed += 1

        return stream()


def ahead(decoder: Decoder) -> Ahead:
    return Ahead(STEPS.__getitem__, len(STEPS), decoder)


def test_steps_in_order_are_one_stream() -> None:
    decoder = Decoder()
    steps = ahead(decoder)
    found = [steps.step(number) for number in range(3)]
    assert found[0] == [((A, 1), "frames of a"), ((B, 1), "frames of b")]
    assert found[1] == [((B, 1), "frames of b")]
    # Read together with others a clip may be cut otherwise, so that it is another one.
    assert found[2] == [((C, 1), "frames of c"), ((A, 2), "frames of a"), ((A, 1), "frames of a")]
    assert decoder.decoded == [list("abbcaa")]


def test_a_step_out_of_order_begins_anew_and_ends_what_was_under_way() -> None:
    decoder = Decoder()
    steps = ahead(decoder)
    steps.step(1)
    assert decoder.closed == 0
    assert steps.step(0) == [((A, 1), "frames of a"), ((B, 1), "frames of b")]
    assert steps.step(0) == [((A, 1), "frames of a"), ((B, 1), "frames of b")]
    assert decoder.decoded == [["b"], ["a", "b"], ["a", "b"]]
    assert decoder.closed == 2


def test_what_was_closed_begins_anew_at_the_next_step() -> None:
    decoder = Decoder()
    steps = ahead(decoder)
    steps.close()
    steps.step(0)
    steps.close()
    assert decoder.closed == 1
    assert steps.step(1) == [((B, 1), "frames of b")]
    assert decoder.decoded == [["a", "b"], ["b"]]
