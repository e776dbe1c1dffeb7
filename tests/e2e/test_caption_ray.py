"""A store captioned by actors on a Ray cluster of this machine, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from _stub_engine import StubEngine
from vidapt.captioning import crew
from vidapt.captioning.cluster import OnRay, caption_on_ray
from vidapt.captioning.store.stores import LocalStore
from vidapt.captioning.store.work import caption_store
from vidapt.errors import ConfigError
from vidapt.locks import Owner, TakenError, owned, this_process

CLIPS, SHARD, BATCH = 40, 4, 2
MADE = ("seconds", "created", "stamp")
"""Columns that tell when a row was made."""
_OURS = (sys.modules[__name__], sys.modules[StubEngine.__module__])


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(CLIPS):
        (folder / f"{number}.mp4").write_bytes(b"" if number == 3 else b"clip %d" % number)
    return folder


@pytest.fixture
def ray() -> Iterator[Any]:
    found = pytest.importorskip("ray")
    options = {"log_to_driver": False, "include_dashboard": False, "object_store_memory": 80 << 20}
    found.init("local", num_cpus=2, logging_level="ERROR", **options)
    for module in _OURS:  # actors have none of the tests' places among those where modules are looked for
        found.cloudpickle.register_pickle_by_value(module)
    yield found
    for module in _OURS:
        found.cloudpickle.unregister_pickle_by_value(module)
    found.shutdown()


def rows_of(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(out / "captions.parquet").drop_columns(list(MADE)).to_pylist()
    return found


def open_stub() -> Any:
    return StubEngine(pause_s=0.2)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_what_a_killed_actor_held_is_taken_over_at_once(
    ray: Any, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"shard": SHARD, "batch": BATCH, "workers": 0}
    caption_store(StubEngine(), clips, tmp_path / "whole", **how)
    killed, told = list[int](), list[tuple[int, int]]()
    take = crew.Crew._take

    def kill_the_first(actors: Any, slot: Any, answer: Any) -> None:
        take(actors, slot, answer)
        if slot.done and not killed:
            killed.append(slot.owner.pid)
            os.kill(slot.owner.pid, signal.SIGKILL)

    monkeypatch.setattr(crew.Crew, "_take", kill_the_first)
    out, began = tmp_path / "store", time.monotonic()
    done = caption_on_ray(
        open_stub,
        clips,
        out,
        on=OnRay(actors=2),
        report=lambda task, *at: told.append((at[0], at[1])),
        again=True,
        **how,
    )
    assert killed
    assert done.left == 0
    assert done.captioned + done.kept == CLIPS - 1
    assert rows_of(out) == rows_of(tmp_path / "whole")
    assert time.monotonic() - began < 110, "nobody waited until a heartbeat was missed"
    assert max(told)[0] <= CLIPS


def test_who_is_known_to_be_gone_holds_nothing(tmp_path: Path) -> None:
    far = Owner(**vars(this_process()) | {"machine": "another", "host": "far"})
    place = tmp_path / "jobs" / "x-0" / "shards" / "000001.jsonl"
    with owned(place):  # somebody who leaves without a word
        file = place.parent / ".000001.jsonl.owner"
        file.write_text(json.dumps(vars(far)))
    with pytest.raises(TakenError, match="on far"), owned(place):
        pass
    store = LocalStore(tmp_path)
    assert store.free(lambda owner: owner.host == "near") == 0
    assert store.free(lambda owner: owner.host == "far") == 1
    with owned(place):
        assert store.free(lambda owner: owner.host == "far") == 0


@pytest.mark.parametrize(
    ("on", "option"),
    [(OnRay(actors=0), "--actors"), (OnRay(gpus=-1), "--gpus-per-actor"), (OnRay(cpus=1e9), "--cpus-per")],
)
def test_what_no_cluster_has_is_refused(on: OnRay, option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        on.check()


def test_without_ray_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"vidapt\[scale\]"):
        OnRay().check()
