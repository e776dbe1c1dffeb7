"""Kept tensors that are damaged are computed again, and what killed jobs leave behind takes no room."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from training_tools import assert_equal, filled, recipe, stage, trained, video_lm, write_clips

from vidapt.errors import BudgetError, VidaptError
from vidapt.nouns import Clip
from vidapt.recipe import Cache
from vidapt.training.cache import TensorStore
from vidapt.training.footage import Footage


def truncate(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-5])


def empty(shard: Path) -> None:
    shard.write_bytes(b"")


def lengthen(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes() + b"\0")


def change_a_note(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes().replace(b'[\\"a\\"]', b"null   "))


def lose_the_notes(shard: Path) -> None:
    save_file(load_file(shard), shard)


def lose_a_tensor(shard: Path) -> None:
    with safe_open(shard, framework="pt") as file:
        header = file.metadata()
    save_file({"b/x": load_file(shard)["b/x"]}, shard, metadata=header)


def spoil_the_header(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[20] = 0xFF
    shard.write_bytes(content)


DAMAGES = [truncate, empty, lengthen, change_a_note, lose_the_notes, lose_a_tensor, spoil_the_header]


@pytest.mark.parametrize("damage", DAMAGES)
def test_clips_of_a_damaged_shard_are_missing_and_can_be_put_again(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    filled(tmp_path, "ab")
    (shard,) = tmp_path.iterdir()
    whole = shard.read_bytes()
    filled(tmp_path, "c")
    damage(shard)
    assert shard.read_bytes() != whole

    store = TensorStore(tmp_path)
    assert store.dropped == 1
    assert store.missing(["a", "b", "c"]) == ["a", "b"]
    assert not shard.exists()
    filled(tmp_path, "ab")
    again = TensorStore(tmp_path)
    assert again.dropped == 0
    assert again.missing(["a", "b", "c"]) == []
    assert again.note("a") == ["a"]
    assert torch.equal(again.get("b")["x"], torch.full((3,), 98.0))


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    filled(tmp_path, "a")
    (tmp_path / "index.jsonl").write_bytes(b'{"key": null}\n\xff')
    assert TensorStore(tmp_path).missing(["a"]) == []
    assert (tmp_path / "index.jsonl").exists()


@pytest.mark.parametrize("damage", [truncate, empty])
def test_training_goes_on_where_the_cache_was_damaged(damage: Callable[[Path], None], tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips")
    notes: list[str] = []

    def listening(task: str, done: int, total: int, note: str = "") -> None:
        if "read clips" in task:
            notes.append(note)

    first = trained(recipe(stage(labels)), tmp_path / "runs")
    (shard,) = (tmp_path / "runs" / ".cache").glob("features-*/*.safetensors")
    damage(shard)
    plan = recipe(stage(labels), name="again")
    again = trained(plan, tmp_path / "runs", report=listening)
    assert notes
    assert set(notes) == {"1 damaged file was dropped from the cache"}
    assert load_file(shard)
    assert_equal(again, first)


def test_a_shard_that_goes_away_while_it_is_used_is_told(tmp_path: Path) -> None:
    filled(tmp_path, "a")
    store = TensorStore(tmp_path)
    for shard in tmp_path.iterdir():
        shard.unlink()
    with pytest.raises(VidaptError, match=r"(?s)changed or deleted while it was used.*--resume"):
        store.get("a")


def test_what_killed_jobs_left_is_deleted_and_not_counted(tmp_path: Path) -> None:
    old, new = (tmp_path / f".ab12.safetensors.{name}.safetensors" for name in ("old", "new"))
    for path in (old, new, tmp_path / "orphan.safetensors"):
        path.write_bytes(bytes(3_000_000))
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))

    store = TensorStore(tmp_path, max_bytes=2_000_000)
    # Another job may be writing the new one just now.
    assert list(tmp_path.iterdir()) == [new]
    store.put("k", {"x": torch.zeros(250_000)})
    store.flush()
    with pytest.raises(BudgetError):
        store.put("l", {"x": torch.zeros(250_000)})
    with pytest.raises(BudgetError):
        TensorStore(tmp_path, max_bytes=1_100_000).put("l", {"x": torch.zeros(250_000)})


def test_two_jobs_fill_one_folder(tmp_path: Path) -> None:
    one, two = TensorStore(tmp_path), TensorStore(tmp_path)
    for store, keys in ((one, "abx"), (two, "cdx")):
        for key in keys:
            store.put(key, {"x": torch.full((3,), float(ord(key)))})
    one.flush()
    third = TensorStore(tmp_path)
    two.flush()
    for store, keys in ((one, "abx"), (two, "cdx"), (third, "abx"), (TensorStore(tmp_path), "abcdx")):
        assert store.missing(list(keys)) == []
        assert all(float(store.get(key)["x"][0]) == ord(key) for key in keys)


def test_kept_frames_that_are_damaged_are_decoded_again(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", clips=2)
    items = [(Clip(str(n), tmp_path / "clips" / f"{n}.mp4"), 1) for n in range(2)]

    def footage(keep: str) -> Footage:
        cache = Cache.model_validate({"keep": keep})
        return Footage(video_lm(), cache, tmp_path / "c", tower_trains=False, needs_views=False, workers=0)

    footage("frames").prepare(items, lambda done, total: None)
    (shard,) = (tmp_path / "c").glob("frames-*/*.safetensors")
    truncate(shard)
    features = footage("features")
    assert features.note == "1 damaged file was dropped from the cache"
    assert features.prepare(items, lambda done, total: None) == {}
    assert len(features.seen(items)[0].features[0].x) == 2


def test_a_note_survives_as_json(tmp_path: Path) -> None:
    store = TensorStore(tmp_path)
    note = {"notes": ["it is truncated: é"], "frames": 3, "size": [24, 32]}
    store.put("a", {"x": torch.zeros(1), "extra": torch.zeros(2)}, note)
    store.flush()
    again = TensorStore(tmp_path)
    assert json.dumps(again.note("a")) == json.dumps(note)
    assert sorted(again.get("a")) == ["extra", "x"]
