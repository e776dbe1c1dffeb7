"""What a store counts: its bytes against the budget, what it dropped, and what is told of that."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from training_tools import filled, video_lm

from vidapt.errors import BudgetError, ConfigError
from vidapt.recipe import Cache
from vidapt.training import cache as cache_module
from vidapt.training.cache import TensorStore
from vidapt.training.footage import Footage


def numbers(count: int) -> dict[str, torch.Tensor]:
    return {"x": torch.zeros(count)}


def nothing_done(done: int, total: int) -> None:
    """Report nothing."""


def test_a_store_that_is_new_or_sound_has_dropped_nothing(tmp_path: Path) -> None:
    assert TensorStore(tmp_path).dropped == 0
    filled(tmp_path, "ab")
    assert TensorStore(tmp_path).dropped == 0


@pytest.mark.parametrize(
    ("damaged", "told"),
    [
        (0, ""),
        (1, "1 damaged file was dropped from the cache"),
        (2, "2 damaged files were dropped from the cache"),
    ],
)
def test_damaged_files_are_counted_and_told(tmp_path: Path, damaged: int, told: str) -> None:
    def opened() -> Footage:
        return Footage(video_lm(), Cache(), tmp_path, tower_trains=False, needs_views=False, workers=0)

    store = opened().store
    assert store is not None
    for number in range(damaged):
        (store.folder / f"{number}.safetensors").write_bytes(b"no shard")
    footage = opened()
    assert footage.store is not None
    assert footage.store.dropped == damaged
    assert footage.note == told
    assert opened().note == ""


def test_what_is_allowed_is_the_last_byte_and_no_more(tmp_path: Path) -> None:
    """100 numbers take 400 bytes; what is pending counts as much as what is written."""
    store = TensorStore(tmp_path / "exact", max_bytes=800)
    store.put("a", numbers(100))
    store.put("b", numbers(100))
    with pytest.raises(BudgetError, match=r"would take 8\.04e-07 GB, 8e-07 GB are allowed"):
        store.put("c", numbers(1))


def test_written_shards_count_with_their_headers_also_after_reopening(tmp_path: Path) -> None:
    filled(tmp_path, "a")
    (shard,) = tmp_path.iterdir()
    size = shard.stat().st_size
    for allowed, fits in ((size + 400, True), (size + 399, False)):
        store = TensorStore(tmp_path, max_bytes=allowed)
        if fits:
            store.put("b", numbers(100))
        else:
            with pytest.raises(BudgetError):
                store.put("b", numbers(100))


def test_bytes_of_this_job_count_once_when_they_are_written(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, max_bytes=10_000)
    store.put("a", numbers(100))
    store.flush()
    (shard,) = tmp_path.iterdir()
    left = 10_000 - shard.stat().st_size
    store.max_bytes = 10_000 - left + 4
    store.put("b", numbers(1))
    with pytest.raises(BudgetError):
        store.put("c", numbers(1))


def test_room_for_more_is_judged_by_the_mean_of_those_put(tmp_path: Path) -> None:
    store = TensorStore(tmp_path, max_bytes=1000)
    store.check_room(10**9)  # of nothing nothing is known
    store.put("a", numbers(50))
    store.put("b", numbers(100))
    # 600 bytes are pending, and each has 300 on average.
    store.check_room(1)
    with pytest.raises(BudgetError, match=r"would take 1\.2e-06 GB"):
        store.check_room(2)


def test_a_shard_is_written_as_soon_as_it_is_full_and_nothing_is_written_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 8)
    store = TensorStore(tmp_path)
    store.flush()
    assert list(tmp_path.iterdir()) == []
    store.put("a", numbers(1))
    assert list(tmp_path.iterdir()) == []
    store.put("b", numbers(1))
    assert len(list(tmp_path.iterdir())) == 1
    store.put("c", numbers(1))
    assert (store.missing(["a", "b", "c", "d"]), "c" in store, "d" in store) == (["d"], True, False)
    assert TensorStore(tmp_path).missing(["a", "b", "c"]) == ["c"]


def test_a_row_that_was_put_again_is_the_newer_one_whatever_its_shard_is_called(tmp_path: Path) -> None:
    for value, keys in ((1.0, "ab"), (2.0, "ac"), (3.0, "ad")):
        store = TensorStore(tmp_path)
        for key in keys:
            store.put(key, {"x": torch.tensor([value])})
        store.flush()
    found = TensorStore(tmp_path)
    assert [float(found.get(key)["x"]) for key in "abcd"] == [3.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(("age_s", "stays"), [(3500, True), (3700, False)])
def test_a_temporary_file_is_deleted_an_hour_after_its_last_change(
    tmp_path: Path, age_s: float, stays: bool
) -> None:
    file = tmp_path / ".x.safetensors"
    file.touch()
    then = time.time() - age_s
    os.utime(file, (then, then))
    assert TensorStore(tmp_path).dropped == 0
    assert file.exists() == stays


@pytest.mark.parametrize("keep", ["auto", "features", "frames", "nothing"])
@pytest.mark.parametrize(("trains", "looks"), [(False, False), (True, False), (False, True)])
def test_what_is_kept_depends_on_what_learns_and_what_is_looked_at(
    tmp_path: Path, keep: str, trains: bool, looks: bool
) -> None:
    cache = Cache.model_validate({"keep": keep})

    def kept() -> str:
        return Footage(video_lm(), cache, tmp_path, tower_trains=trains, needs_views=looks, workers=0).keeps

    busy = trains or looks
    if keep == "features" and busy:
        with pytest.raises(ConfigError, match="features cannot be kept while the tower trains"):
            kept()
    else:
        assert kept() == (("frames" if busy else "features") if keep == "auto" else keep)


def test_features_are_not_read_where_they_are_not_kept(tmp_path: Path) -> None:
    for keep in ("frames", "nothing"):
        cache = Cache.model_validate({"keep": keep})
        footage = Footage(video_lm(), cache, tmp_path, tower_trains=False, needs_views=False, workers=0)
        with pytest.raises(ConfigError, match="features are not kept in this stage"):
            footage.seen([])
        assert footage.begin(0) == {}
        footage.close()
