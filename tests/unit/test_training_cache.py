"""A frozen tower's features from disk train exactly as features computed anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from training_tools import assert_equal, blueprint, filled, recipe, stage, trained, video_lm, write_clips

from vidapt.errors import BudgetError, ConfigError
from vidapt.formats import open_samples
from vidapt.models.fingerprint import weights_fingerprint
from vidapt.nouns import Clip, Features, Frames, Plan, View, Views
from vidapt.recipe import Cache
from vidapt.towers import conv_vip
from vidapt.training import cache as cache_module
from vidapt.training.cache import TensorStore
from vidapt.training.footage import Footage, see_frozen
from vidapt.video import decode_ahead


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


def clips_of(labels: Path) -> list[tuple[Clip, int]]:
    return list(dict.fromkeys((clip, 1) for sample in open_samples(labels) for clip in sample.media))


def footage(folder: Path, cache: Cache, **changes: Any) -> Footage:
    return Footage(video_lm(**changes), cache, folder, tower_trains=False, needs_views=False, workers=0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("shared", [True, False])
def test_cached_features_train_bit_for_bit_as_none(
    labels: Path, tmp_path: Path, shared: bool, precision: str
) -> None:
    def run(keep: str) -> dict[str, Tensor]:
        batching = {"clips": 3, "questions": 2, "shared_prefix": shared}
        changes = {"cache": {"keep": keep}, "precision": precision, "train": {"language": "lora"}}
        return trained(recipe(stage(labels, batching=batching, **changes)), tmp_path / keep)

    nothing = run("nothing")
    assert_equal(run("features"), nothing)
    assert_equal(run("frames"), nothing)


@pytest.mark.parametrize("inside", [True, False])
def test_what_is_seen_anew_and_what_was_kept_agree_also_where_the_tower_answers_in_halves(
    labels: Path, tmp_path: Path, inside: bool
) -> None:
    model = video_lm()
    model.tower.register_forward_hook(lambda tower, given, seen: Features(seen.x.bfloat16(), seen.extra))
    eyes = Footage(
        model, Cache(), tmp_path, tower_trains=False, needs_views=False, workers=0, precision="bfloat16"
    )
    clips = clips_of(labels)
    eyes.prepare(clips, lambda done, total: None)
    assert eyes.store is not None
    assert eyes.store.get(eyes.key(clips[0]))["0.x"].dtype == torch.bfloat16
    ((kept,),) = [seen.features for seen in eyes.seen(clips)]
    decoded = [next(decode_ahead([clip], model.blueprint.frames, workers=0))[1] for clip, _ in clips]
    views = [eyes.cut(frames) for frames in decoded if isinstance(frames, Frames)]
    with torch.autocast("cpu", torch.bfloat16, enabled=inside):
        anew = torch.cat([eyes.see(one).features[0].x for one in views])
    assert anew.dtype == kept.x.dtype == torch.float32
    assert torch.equal(anew, kept.x)


def test_what_an_earlier_version_kept_without_times_is_computed_anew(
    labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, clips = TensorStore.put, clips_of(labels)

    def without_times(self: TensorStore, key: str, tensors: Any, note: Any = None) -> None:
        put(self, key, tensors, {name: value for name, value in note.items() if name != "moments"})

    def done_at_once(cache: Cache) -> int:
        done: list[int] = []
        eyes = footage(tmp_path, cache)
        eyes.prepare(clips, lambda count, total: done.append(count))
        if cache.keep == "features":
            assert [len(seen.moments) for seen in eyes.seen(clips)] == [len(clips)]
        return done[0]

    for keep in ("frames", "features"):
        with monkeypatch.context() as earlier:
            earlier.setattr(TensorStore, "put", without_times)
            footage(tmp_path, Cache(keep=keep)).prepare(clips, lambda count, total: None)
    for keep in ("features", "frames"):
        assert (done_at_once(Cache(keep=keep)), done_at_once(Cache(keep=keep))) == (0, len(clips))


def test_half_precision_features_train_nearly_the_same(labels: Path, tmp_path: Path) -> None:
    exact = trained(recipe(stage(labels)), tmp_path / "exact")
    half = trained(recipe(stage(labels, cache={"dtype": "float16"})), tmp_path / "half")
    different = [name for name in exact if not torch.equal(exact[name], half[name])]
    assert different
    for name in exact:
        assert torch.allclose(exact[name], half[name], atol=0.02), name


def test_a_clip_is_seen_alike_whoever_stands_beside_it() -> None:
    # Convolutions round differently by batch size, so the tower must be given one clip at a time.
    tower = conv_vip.tiny().eval()
    views = torch.randint(0, 255, (5, tower.cfg.frames, 3, *tower.size), dtype=torch.uint8)

    model = video_lm()
    model.towers[0] = tower
    plan = Plan(tower.cfg.frames, (View(tower.size),), tower.size)
    (together,) = see_frozen(model, Views((views,), plan)).features
    alone = [see_frozen(model, Views((views[i : i + 1],), plan)).features[0] for i in range(5)]
    assert torch.equal(together.x, torch.cat([one.x for one in alone]))
    assert not together.x.requires_grad


def test_everything_features_depend_on_moves_the_cache(tmp_path: Path) -> None:
    def folder(cache: Cache | None = None, **changes: Any) -> str:
        found = footage(tmp_path, cache or Cache(), **changes).store
        assert found is not None
        return found.folder.name

    same = folder()
    assert folder() == same
    assert folder(frames={"policy": "uniform", "count": 2}) != same
    assert folder(resolution={"kind": "whole", "filter": "area", "in_decoder": True}) != same
    assert folder(Cache(dtype="float16")) != same
    assert folder(Cache(keep="frames")) != same
    assert folder(language={"num_hidden_layers": 1}) == same

    halves = Footage(
        video_lm(), Cache(), tmp_path, tower_trains=False, needs_views=False, workers=0, precision="bfloat16"
    )
    assert halves.store is not None
    assert halves.store.folder.name != same

    model = video_lm()
    with torch.no_grad():
        next(model.tower.parameters()).view(-1)[0] += 1e-3
    moved = Footage(model, Cache(), tmp_path, tower_trains=False, needs_views=False, workers=0)
    assert moved.store is not None
    assert moved.store.folder.name != same


def test_fingerprints_tell_names_shapes_types_and_values_apart() -> None:
    one = {"a": torch.arange(4.0)}
    others = [
        {"b": torch.arange(4.0)},
        {"a": torch.arange(4.0).view(2, 2)},
        {"a": torch.arange(4.0).double()},
        {"a": torch.arange(4.0) + 1},
        {"a": torch.arange(4.0), "scale": torch.tensor(2)},
    ]
    assert len({weights_fingerprint(tensors) for tensors in [one, *others]}) == 6
    assert weights_fingerprint(one) == weights_fingerprint({"a": torch.arange(4.0)})


def test_tensors_and_notes_come_back(tmp_path: Path) -> None:
    filled(tmp_path, "ab")
    store = TensorStore(tmp_path)
    assert torch.equal(store.get("b")["x"], torch.full((3,), 98.0))
    assert store.note("b") == ["b"]
    assert store.missing(["a", "c", "b", "d"]) == ["c", "d"]
    with pytest.raises(KeyError):
        store.get("c")


def test_what_a_caller_does_to_its_tensor_later_does_not_reach_the_store(tmp_path: Path) -> None:
    store, tensor = TensorStore(tmp_path), torch.zeros(2)
    store.put("a", {"x": tensor})
    tensor += 1
    assert store.get("a")["x"].sum() == 0
    store.flush()
    assert store.get("a")["x"].sum() == 0


def test_clips_of_a_lost_shard_are_missing(tmp_path: Path) -> None:
    filled(tmp_path, "a")
    shard = next(tmp_path.glob("*.safetensors"))
    filled(tmp_path, "b")
    shard.unlink()
    assert TensorStore(tmp_path).missing(["a", "b"]) == ["a"]


def test_a_full_shard_is_written_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SHARD_BYTES", 20)
    store = TensorStore(tmp_path)
    for key in "abc":
        store.put(key, {"x": torch.zeros(3)})
    assert TensorStore(tmp_path).missing(["a", "b", "c"]) == ["c"]


def test_a_budget_is_kept_and_a_breach_foreseen(labels: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    small = footage(tmp_path / "a", Cache(max_gb=1e-5))
    # One clip's features take 3 frames x 16 cells x 16 numbers x 4 bytes: 3072.
    with pytest.raises(BudgetError, match=r"would take 1.23e-05 GB, 1e-05 GB are allowed"):
        small.prepare(clips_of(labels), lambda done, total: seen.append(done))
    assert seen == [0]
    enough = footage(tmp_path / "b", Cache(max_gb=2e-5))
    assert enough.prepare(clips_of(labels), lambda done, total: None) == {}


def test_filling_goes_on_where_it_stopped(labels: Path, tmp_path: Path) -> None:
    clips = clips_of(labels)
    whole = footage(tmp_path / "whole", Cache())
    whole.prepare(clips, lambda done, total: None)

    first = footage(tmp_path / "half", Cache())
    first.prepare(clips[1:3], lambda done, total: None)
    seen: list[tuple[int, int]] = []
    second = footage(tmp_path / "half", Cache())
    second.prepare(clips, lambda done, total: seen.append((done, total)))
    assert seen == [(2, 4), (3, 4), (4, 4)]
    left, right = whole.seen(clips), second.seen(clips)
    assert torch.equal(left[0].features[0].x, right[0].features[0].x)


def test_a_clip_under_two_names_is_decoded_once(labels: Path, tmp_path: Path) -> None:
    clips = clips_of(labels)
    twice = [clips[0], (Clip("other", clips[0][0].path), 1), clips[1]]
    store = footage(tmp_path, Cache())
    store.prepare(twice, lambda done, total: None)
    assert store.store is not None
    (shard,) = store.store.folder.iterdir()
    assert len(load_file(shard)) == 2


@pytest.mark.parametrize("keep", ["features", "frames", "nothing"])
def test_broken_clips_are_named_before_training(labels: Path, tmp_path: Path, keep: Any) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"")
    broken = footage(tmp_path / "cache", Cache(keep=keep)).prepare(
        [*clips_of(labels), (Clip("bad", bad), 1)], lambda done, total: None
    )
    assert {clip.path: reason for clip, reason in broken.items()} == {bad: "it is empty (zero bytes)"}


def test_a_broken_clip_is_broken_under_each_of_its_names(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"not a video")
    names = [Clip("one", bad), Clip("two", bad)]
    broken = footage(tmp_path / "cache", Cache()).prepare([(c, 1) for c in names], lambda done, total: None)
    assert list(broken) == names


def test_features_are_not_kept_of_a_tower_that_changes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="while the tower trains"):
        Footage(video_lm(), Cache(keep="features"), tmp_path, tower_trains=True, needs_views=False, workers=0)
    kept = Footage(video_lm(), Cache(), tmp_path, tower_trains=True, needs_views=False, workers=0)
    assert kept.keeps == "frames"


def test_clips_of_different_length_train_together(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", clips=3)
    plan = recipe(
        stage(labels, batching={"clips": 3}),
        blueprint=blueprint(frames={"policy": "every", "rate": 2.0, "cap": 8}),
    )
    rows = [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if row["video"] == "1.mp4":
            row["media"] = [{"path": row.pop("video"), "end_s": 0.4}]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shared = trained(plan, tmp_path / "shared")
    separate = recipe(stage(labels, batching={"clips": 3, "shared_prefix": False}), blueprint=plan.blueprint)
    apart = trained(separate, tmp_path / "apart")
    for name in shared:
        assert torch.allclose(shared[name], apart[name], atol=2e-3), name
