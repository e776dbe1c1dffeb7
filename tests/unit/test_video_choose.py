"""Frame-choosing policies: which moments they take, and how they are written down."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from vidapt.errors import BrokenClip
from vidapt.video import Every, Keyframes, Motion, Near, Policy, Probe, Times, Uniform, choose

CLIP = Probe(Path("clip.mp4"), "video", 10.0, 25.0, 64, 48, 0, "h264", 250, False)
STILL = Probe(Path("photo.png"), "still", 0.0, 0.0, 64, 48, 0, "png", 1, False)


def test_midpoints_lie_in_the_middle_of_equal_segments() -> None:
    assert choose(Uniform(count=4), CLIP) == pytest.approx((1.25, 3.75, 6.25, 8.75))


def test_endpoints_name_the_frames_that_an_even_choice_of_indices_names() -> None:
    times = choose(Uniform(count=4, at="endpoints"), CLIP)
    assert times != "packets"
    assert [min(249, int(moment * 25 + 1e-6)) for moment in times] == [0, 83, 166, 249]


def test_one_endpoint_is_the_first_frame() -> None:
    assert choose(Uniform(count=1, at="endpoints"), CLIP, 2.0, 4.0) == (2.0,)


def test_a_part_of_the_clip_is_sampled_within_its_bounds() -> None:
    assert choose(Uniform(count=2), CLIP, 2.0, 4.0) == pytest.approx((2.5, 3.5))
    assert choose(Uniform(count=2), CLIP, 8.0, 99.0) == pytest.approx((8.5, 9.5))


def test_every_takes_a_steady_rate_below_its_cap_and_spreads_evenly_above_it() -> None:
    assert choose(Every(rate=0.5, cap=8), CLIP) == pytest.approx((0, 2, 4, 6, 8))
    assert choose(Every(rate=2, cap=4), CLIP) == choose(Uniform(count=4), CLIP)
    assert choose(Every(rate=0.01, cap=4), CLIP) == (0.0,)
    assert choose(Every(rate=0.01, cap=8, least=3), CLIP) == choose(Uniform(count=3), CLIP)
    assert choose(Every(rate=0.5, cap=8, least=3), CLIP) == choose(Every(rate=0.5, cap=8), CLIP)


def test_a_still_gives_copies_or_one_frame() -> None:
    assert choose(Uniform(count=3), STILL) == (0.0, 0.0, 0.0)
    assert choose(Uniform(count=3, pad=False), STILL) == (0.0,)
    assert choose(Every(), STILL) == (0.0,)
    assert len(choose(Every(least=4), STILL)) == 1
    with pytest.raises(ValueError, match="more than `cap`"):
        Every(cap=2, least=3)


def test_without_padding_no_more_moments_than_frames_are_chosen() -> None:
    times = choose(Uniform(count=300, pad=False), CLIP, 0.0, 2.0)
    assert len(times) == 50


def test_given_times_keep_their_order() -> None:
    assert choose(Times(times=(3.0, 1.0, 3.0)), CLIP) == (3.0, 1.0, 3.0)


def test_key_frames_are_left_to_the_packets() -> None:
    for policy in (Keyframes(cap=3), Near(), Motion()):
        assert choose(policy, CLIP) == "packets"


@pytest.mark.parametrize(("start_s", "end_s"), [(10.0, None), (-1.0, None), (4.0, 3.0)])
def test_a_part_outside_the_clip_is_a_broken_clip(start_s: float, end_s: float | None) -> None:
    with pytest.raises(BrokenClip, match=r"clip\.mp4"):
        choose(Uniform(), CLIP, start_s, end_s)


def test_policies_are_read_from_plain_data() -> None:
    adapter: TypeAdapter[Policy] = TypeAdapter(Policy)
    assert adapter.validate_python({"policy": "every", "rate": 2, "cap": 8}) == Every(rate=2, cap=8)
    assert adapter.validate_python({"policy": "times", "times": [1, 2]}) == Times(times=(1, 2))


@pytest.mark.parametrize(
    "data",
    [
        {"policy": "uniform", "cuont": 8},
        {"policy": "uniform", "count": 0},
        {"policy": "evrey"},
        {"policy": "every", "rate": 0},
        {"policy": "times", "times": []},
        {"policy": "times", "times": [-1.0]},
        {"policy": "times", "times": [float("nan")]},
    ],
)
def test_mistakes_in_a_policy_are_refused(data: dict[str, object]) -> None:
    adapter: TypeAdapter[Policy] = TypeAdapter(Policy)
    with pytest.raises(ValidationError):
        adapter.validate_python(data)


def test_policies_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Uniform().count = 3  # type: ignore[misc]
