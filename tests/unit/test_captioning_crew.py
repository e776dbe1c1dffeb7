"""The actors of a store, by a stand-in for Ray that runs each call when it is waited for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from _stub_engine import StubEngine
from vidapt.captioning import crew
from vidapt.captioning.crew import Crew
from vidapt.captioning.store.stores import jobs_of
from vidapt.errors import ConfigError, VidaptError
from vidapt.progress import Reporter, silent

SHARD, BATCH, CLIPS = 4, 2, 10


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Call:
    """What a call gives, once somebody waits for it."""

    def __init__(self, ray: FakeRay, name: str, do: Any) -> None:
        self.ray, self.name, self._do, self._given = ray, name, do, list[Any]()

    def given(self) -> Any:
        if not self._given:
            try:
                self._given.append(self._do())
            except VidaptError as error:
                self._given.append(RayTaskError(error))
            except RayActorError as error:
                self._given.append(error)
        if isinstance(self._given[0], Exception):
            raise self._given[0]
        return self._given[0]


class Actor:
    def __init__(self, ray: FakeRay, made: Any) -> None:
        self._ray, self._made = ray, made

    def __getattr__(self, name: str) -> Any:
        def remote(*given: Any, **named: Any) -> Call:
            def do() -> Any:
                if name == "work" and self._ray.lost:
                    self._ray.lost -= 1
                    raise RayActorError("the actor died")
                return getattr(self._made, name)(*given, **named)

            return Call(self._ray, name, do)

        return SimpleNamespace(remote=remote)


class FakeRay:
    """Loses the first actors, and has no room for more than some.

    Args:
        lost: How many are lost.
        room: How many there is room for.
        gpus: Of the cluster.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayActorError=RayActorError, RayTaskError=RayTaskError)

    def __init__(self, lost: int = 0, room: int = 99, gpus: float = 0) -> None:
        self.lost, self.room, self.gpus = lost, room, gpus
        self.made, self.killed = list[Actor](), list[Actor]()

    def remote(self, **options: Any) -> Any:
        def of(kind: Any) -> Any:
            def make() -> Actor:
                self.made.append(Actor(self, kind()))
                return self.made[-1]

            return SimpleNamespace(options=lambda **options: SimpleNamespace(remote=make))

        return of

    def wait(self, refs: list[Call], timeout: float) -> tuple[list[Call], list[Call]]:
        ready = [ref for ref in refs if ref.name != "work"] or refs[:1]
        return ready, [ref for ref in refs if ref not in ready]

    def get(self, ref: Call) -> Any:
        return ref.given()

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": at < 3, "Resources": {"CPU": 4} if at else {}} for at in range(5)]

    def cluster_resources(self) -> dict[str, float]:
        return {"GPU": self.gpus}


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    for number in range(CLIPS):
        (tmp_path / "clips" / f"{number}.mp4").write_bytes(b"clip %d" % number)
    return tmp_path / "clips"


def crew_of(
    ray: FakeRay, clips: Path, actors: int | None = 2, opened: Any = StubEngine, report: Reporter = silent
) -> Crew:
    out = clips.parent / "store"
    how = {"shard": SHARD, "batch": BATCH, "workers": 0}
    return Crew(ray, out, report, (opened, clips, out, how, str(Path.cwd())), actors, ray.gpus / 8, 1.0)


def test_lost_actors_are_replaced(clips: Path) -> None:
    ray, told = FakeRay(lost=3), list[tuple[str, int, int]]()
    done = crew_of(ray, clips, report=lambda task, *at: told.append((task, at[0], at[1]))).run()
    assert (done.captioned, done.kept, done.left) == (CLIPS, 0, 0)
    assert len(ray.made) == 4
    assert told[-1] == ("caption", CLIPS, CLIPS)
    assert len(jobs_of(clips.parent / "store")) == 1


def test_actors_beyond_the_shards_are_told_and_not_begun(clips: Path) -> None:
    ray = FakeRay()
    done = crew_of(ray, clips, actors=9).run()
    shards = -(-CLIPS // SHARD)
    assert (done.shards, done.idle, done.captioned, done.left) == (shards, 9 - shards, CLIPS, 0)
    assert len(ray.made) <= shards
    assert crew_of(FakeRay(), clips, actors=2).run().idle == 0


def test_who_is_lost_again_and_again_is_not_replaced_for_ever(clips: Path) -> None:
    with pytest.raises(VidaptError, match="again and again: the actor died"):
        crew_of(FakeRay(lost=999), clips).run()


def test_mistakes_are_those_of_the_store(clips: Path) -> None:
    def none() -> Any:
        raise ConfigError("--model", "there is none", "make one")

    ray = FakeRay()
    one = crew_of(ray, clips, opened=none)
    with pytest.raises(ConfigError, match="there is none"):
        one.run()
    one.end()


def test_who_works_when_it_is_stopped_is_ended(clips: Path) -> None:
    ray = FakeRay()
    one = crew_of(ray, clips)
    one._start(crew.Slot((1, 2)))
    one.running[0].owner = crew.this_process()
    one.end()
    assert ray.killed == ray.made
    assert not one.running


@pytest.mark.parametrize(("gpus", "count"), [(0, 2), (16, 8)])
def test_there_are_as_many_actors_as_there_is_room_for(gpus: float, count: int, clips: Path) -> None:
    assert crew_of(FakeRay(gpus=gpus), clips, None)._room() == count
