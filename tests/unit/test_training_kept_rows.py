"""Rows of the cache are what was written, and what the code makes now; else they are computed anew."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_tools import assert_equal, blueprint, recipe, stage, trained, video_lm, write_clips

from vidapt.errors import ConfigError
from vidapt.formats import open_samples
from vidapt.nouns import Clip, Features
from vidapt.recipe import Cache
from vidapt.training import cache as cache_module
from vidapt.training.cache import LostError, TensorStore
from vidapt.training.footage import Footage
from vidapt.training.sources import sources_of


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


def items_of(labels: Path) -> list[tuple[Clip, int]]:
    return list(dict.fromkeys((clip, 1) for sample in open_samples(labels) for clip in sample.media))


def footage(folder: Path, cache: Cache, **changes: object) -> Footage:
    return Footage(video_lm(**changes), cache, folder, tower_trains=False, needs_views=False, workers=0)


def flip_a_byte(shard: Path) -> None:
    """In the last tensor's last number: it stays a number, and nothing of the header changes."""
    content = bytearray(shard.read_bytes())
    content[-2] ^= 0x40
    shard.write_bytes(content)


def zero_the_last_third(shard: Path) -> None:
    content = shard.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    whole = header + (len(content) - header) * 2 // 3
    shard.write_bytes(content[:whole] + bytes(len(content) - whole))


@pytest.mark.parametrize("damage", [flip_a_byte, zero_the_last_third])
@pytest.mark.parametrize("keep", ["features", "frames"])
def test_a_damaged_row_is_computed_anew_and_told(
    labels: Path, tmp_path: Path, keep: str, damage: Callable[[Path], None]
) -> None:
    plan = recipe(stage(labels, cache={"keep": keep}))
    expected = trained(plan, tmp_path / "runs")
    (shard,) = (tmp_path / "runs" / ".cache").glob(f"{keep}-*/*.safetensors")
    damage(shard)
    for name, told in (("again", True), ("once-more", False)):
        notes: list[str] = []

        def listening(task: str, done: int, total: int, note: str = "", notes: list[str] = notes) -> None:
            notes.append(f"{task}: {note}")

        again = recipe(stage(labels, cache={"keep": keep}), name=name)
        assert_equal(trained(again, tmp_path / "runs", report=listening), expected)
        assert any("a: loss" in note and "of the cache computed anew" in note for note in notes) == told


def test_a_damaged_row_is_not_there_any_more(tmp_path: Path) -> None:
    store = TensorStore(tmp_path)
    for key in "ab":
        store.put(key, {"x": torch.full((5,), float(ord(key)))})
    store.flush()
    (shard,) = tmp_path.iterdir()
    flip_a_byte(shard)
    store = TensorStore(tmp_path)
    assert store.dropped == 0
    assert float(store.get("a")["x"][0]) == ord("a")
    with pytest.raises(LostError, match="is damaged"):
        store.get("b")
    assert store.missing(["a", "b"]) == ["b"]
    store.put("b", {"x": torch.full((5,), 2.0)})
    store.flush()
    assert float(TensorStore(tmp_path).get("b")["x"][0]) == 2.0


def test_few_shards_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "OPEN_SHARDS", 3)
    for key in range(12):
        store = TensorStore(tmp_path)
        store.put(str(key), {"x": torch.full((4,), float(key))})
        store.flush()
    store = TensorStore(tmp_path)
    kept = [store.get(str(key))["x"] for _ in range(2) for key in range(12)]
    assert [float(x[0]) for x in kept] == [*range(12), *range(12)]
    del kept
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    mapped = {line.rpartition("/")[2] for line in maps.splitlines() if str(tmp_path) in line}
    assert 1 <= len(mapped) <= 3


def test_what_float16_cannot_hold_is_told(labels: Path, tmp_path: Path) -> None:
    eyes = footage(tmp_path / "half", Cache(dtype="float16"))
    eyes.model.towers[0].register_forward_hook(lambda tower, given, seen: Features(seen.x * 1e6, seen.extra))
    with pytest.raises(ConfigError, match=r"(?s)0\.mp4: a feature is .*e\+0.*above 65504.*bfloat16"):
        eyes.prepare(items_of(labels), lambda done, total: None)
    wide = footage(tmp_path / "wide", Cache(dtype="bfloat16"))
    wide.model.towers[0].register_forward_hook(lambda tower, given, seen: Features(seen.x * 1e6, seen.extra))
    assert wide.prepare(items_of(labels), lambda done, total: None) == {}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_kept_halves_are_stacked_as_they_are(
    labels: Path, tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    eyes = footage(tmp_path, Cache(dtype=dtype))
    items = items_of(labels)
    eyes.prepare(items, lambda done, total: None)
    stacked: list[torch.dtype] = []
    stack = torch.stack
    monkeypatch.setattr(torch, "stack", lambda rows: (stacked.append(rows[0].dtype), stack(rows))[1])
    with torch.autocast("cpu", torch.bfloat16):
        (seen,) = eyes.seen(items)
    assert stacked == [getattr(torch, dtype)]
    assert seen.features[0].x.dtype == torch.float32
    assert eyes.store is not None
    rows = [eyes.store.get(eyes.key(item))["0.x"].float() for item in items]
    assert torch.equal(seen.features[0].x, stack(rows))


def test_devices_of_another_kind_have_their_own_features(tmp_path: Path) -> None:
    here = footage(tmp_path, Cache())

    class Elsewhere(type(here.model)):  # type: ignore[misc]
        device = torch.device("cuda")

    model = video_lm()
    model.__class__ = Elsewhere
    there = Footage(model, Cache(), tmp_path, tower_trains=False, needs_views=False, workers=0)
    assert here.store is not None
    assert there.store is not None
    assert here.store.folder != there.store.folder


OWN = """
from vidapt.towers.frame_vit import Part as FrameViT
from vidapt.nouns import Features
from own_tower_pack.inner.scale import SCALE


class Tower(FrameViT):
    class Config(FrameViT.Config):
        pass

    def forward(self, views):
        seen = super().forward(views)
        return Features(seen.x * SCALE, seen.extra)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of a user's own, one of whose modules imports another."""
    folder = tmp_path / "site" / "own_tower_pack"
    (folder / "inner").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "inner" / "__init__.py").write_text("")
    (folder / "inner" / "scale.py").write_text("SCALE = 1\n")
    (folder / "unused.py").write_text("")
    (folder / "tower.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield folder
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_tower_pack"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_a_part_of_ones_own_does_not_go_stale_when_its_code_changes(
    package: Path, labels: Path, tmp_path: Path
) -> None:
    def seen() -> torch.Tensor:
        forget()
        towers = [{**video_lm().blueprint.towers[0], "kind": "own_tower_pack.tower:Tower"}]
        eyes = footage(tmp_path / "cache", Cache(), towers=towers)
        eyes.prepare(items_of(labels), lambda done, total: None)
        return eyes.seen(items_of(labels))[0].features[0].x

    before = seen()
    assert torch.equal(seen(), before)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    (package / "inner" / "scale.py").write_text("SCALE = 0\n")
    assert not seen().any()
    (package / "inner" / "scale.py").write_text("SCALE = 1\n")
    assert torch.equal(seen(), before)


def test_modules_of_the_same_package_count_and_others_do_not(package: Path) -> None:
    found = sources_of(["own_tower_pack.tower:Tower"])
    names = [line.partition(" ")[0] for line in found]
    assert names == ["own_tower_pack.inner.scale", "own_tower_pack.tower"]
    assert sources_of([]) == []
    (package / "tower.py").write_text("from . import unused\nfrom .inner import scale\nimport os\n")
    names = [line.partition(" ")[0] for line in sources_of(["own_tower_pack.tower:Tower"])]
    assert names == [
        "own_tower_pack",
        "own_tower_pack.inner",
        "own_tower_pack.inner.scale",
        "own_tower_pack.tower",
        "own_tower_pack.unused",
    ]


def test_what_is_pooled_before_the_connector_is_kept_pooled(labels: Path, tmp_path: Path) -> None:
    framed = {"kind": "framed", "pool": "average", "order": "pool_first", "newline": "frame"}
    runs: dict[str, dict[str, torch.Tensor]] = {}
    for resolution in ("framed", "scenes"):
        made = {"resolution": framed} if resolution == "framed" else {"scenes": {"video": framed}}
        described = blueprint(connector={"kind": "pool_mlp"}, **made)
        for keep in ("features", "frames", "nothing"):
            for precision in ("float32", "bfloat16"):
                changes = {"cache": {"keep": keep}, "precision": precision}
                name = f"{resolution}-{keep}-{precision}"
                plan = recipe(stage(labels, steps=2, **changes), blueprint=described, name=name)
                runs[name] = trained(plan, tmp_path / name)
        for precision in ("float32", "bfloat16"):
            expected = runs[f"{resolution}-nothing-{precision}"]
            assert_equal(runs[f"{resolution}-features-{precision}"], expected)
            assert_equal(runs[f"{resolution}-frames-{precision}"], expected)
        (shard,) = (tmp_path / f"{resolution}-features-float32" / ".cache").glob("features-*/*.safetensors")
        shapes = {tuple(tensor.shape) for tensor in load_file(shard).values()}
        assert shapes == {(3, 2, 2, 16)}, "4 x 4 cells were seen"


def test_pooled_or_not_it_is_read_alike() -> None:
    framed = {"kind": "framed", "pool": "max", "order": "pool_first", "newline": "grid"}
    model = video_lm(resolution=framed, connector={"kind": "pool_mlp"})
    pixels = torch.randint(0, 255, (3, 24, 32, 3), dtype=torch.uint8)
    seen = model.see_views(model.cut(pixels))
    pooled = model.shrunk(seen)
    assert pooled.features[0].x.numel() * 4 == seen.features[0].x.numel()
    assert model.shrunk(pooled) is pooled
    (whole,), (small,) = model.read(seen), model.read(pooled)
    assert not isinstance(whole, str)
    assert not isinstance(small, str)
    assert torch.equal(whole.x, small.x)
    plain = video_lm(resolution={"kind": "whole"})
    seen = plain.see_views(plain.cut(pixels))
    assert plain.shrunk(seen) is seen


def test_a_still_among_others_is_kept_apart_from_the_same_still_alone(tmp_path: Path) -> None:
    clip = Clip("a", tmp_path / "a.png")
    clip.path.write_bytes(b"a")
    scenes = {"images": {"kind": "whole"}}

    def keys(**changes: Any) -> list[str]:
        footage = Footage(
            video_lm(**changes), Cache(), tmp_path, tower_trains=False, needs_views=False, workers=0
        )
        return [footage.key((clip, together)) for together in (1, 2, 3)]

    alone, pair, three = keys(scenes=scenes)
    assert alone != pair == three
    assert len(set(keys())) == 1
