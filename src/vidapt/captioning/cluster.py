"""A store captioned by actors on a Ray cluster: Ray starts them and tells who is lost, the store commits.

An actor is one process that works on the store as any other does: nothing of a clip goes through Ray. It
begins with shards of its own and then takes what nobody holds. The shards of a lost one are taken over at
once: Ray tells this process that it is gone, and what it held is freed before its heartbeat is missed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vidapt.captioning.places import Place
from vidapt.captioning.store.remote import store_at
from vidapt.captioning.store.work import StoreSummary, caption_store
from vidapt.errors import ConfigError, VidaptError
from vidapt.inference.engine import Engine
from vidapt.locks import Owner, this_process
from vidapt.progress import Reporter, silent

_POLL_S = 0.5
_IN_VAIN = 5
"""Actors that are lost one after the other, nothing being done meanwhile, before it is given up."""

_TASK = "caption"


@dataclass(frozen=True)
class OnRay:
    """How a store is divided among actors.

    Attributes:
        address: Of the cluster; `auto` finds the one that this machine belongs to, None starts one here.
        actors: How many; None is one for each set of GPUs, or one for each machine where none are asked for.
        gpus: GPUs of each; a part of one where several share it.
        cpus: Cores that Ray keeps free for each.
    """

    address: str | None = None
    actors: int | None = None
    gpus: float = 0.0
    cpus: float = 1.0

    def check(self) -> None:
        """Refuse what cannot be, before a model is opened.

        Raises:
            ConfigError: If a number is out of bounds, or Ray is not installed.
        """
        if self.actors is not None and not 1 <= self.actors <= MOST_ACTORS:
            raise ConfigError("--actors", f"is {self.actors}", f"give 1 to {MOST_ACTORS:,}")
        for option, value in (("--gpus-per-actor", self.gpus), ("--cpus-per-actor", self.cpus)):
            if not 0 <= value <= MOST_DEVICES:
                raise ConfigError(option, f"is {value:g}", f"give 0 to {MOST_DEVICES}")
        _ray()


MOST_ACTORS, MOST_DEVICES = 10_000, 1024


def caption_on_ray(
    open_engine: Callable[[], Engine],
    sources: Place | Sequence[Place],
    out: Place,
    *,
    on: OnRay | None = None,
    report: Reporter = silent,
    **how: Any,
) -> StoreSummary:
    """Caption a store by actors; the rows are those of `caption_store`.

    Args:
        open_engine: Opens the model in an actor; what it needs must be found on every machine.
        sources: As `caption_store` has it; seen by every machine.
        out: The same.
        on: How it is divided.
        report: Told how far all of them are.
        how: Further options of `caption_store`, but `part`.

    Returns:
        What all of them did; rows by actors that were lost count as kept.

    Raises:
        ConfigError: If Ray is not installed or cannot be reached, or an option cannot be.
        VidaptError: What one of them raises, or if they are lost again and again.
    """
    on = on or OnRay()
    on.check()
    ray = _ray()
    began = not ray.is_initialized()
    if began:
        _begin(ray, on)
    crew = _Crew(ray, on, out, report, (open_engine, sources, out, how))
    try:
        return crew.run()
    finally:
        crew.end()
        if began:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--engine ray", "Ray is not installed", "pip install 'vidapt[scale]'") from error
    return ray


def _begin(ray: Any, on: OnRay) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if on.address is None:
        options |= {"include_dashboard": False, "num_cpus": None}
    try:
        ray.init(address=on.address, **options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = "start one (ray start --head), or leave the address out for one on this machine"
        raise ConfigError("--ray-address", f"no cluster can be reached: {said}", remedy) from error


class Worker:
    """What an actor does; Ray makes one in a process of its own."""

    def __init__(self) -> None:
        self._told: tuple[str, int, int, str] | None = None

    def who(self) -> Owner:
        """The process, as it says in a store what it holds."""
        return this_process()

    def told(self) -> tuple[str, int, int, str] | None:
        """How far it is: task, done, total, and what is told with it."""
        return self._told

    def work(self, job: tuple[Any, ...], part: tuple[int, int], again: bool) -> StoreSummary:
        """Caption what nobody holds."""
        open_engine, sources, out, how = job

        def report(task: str, done: int, total: int, note: str = "") -> None:
            self._told = task, done, total, note

        return caption_store(
            open_engine(), sources, out, **how, part=part, others=True, again=again, report=report
        )


@dataclass
class _Slot:
    """An actor's place, which another one takes when it is lost.

    Attributes:
        part: Which shards it begins with.
        actor: Ray's handle.
        work: What its summary will be.
        who: What its process will be.
        owner: That, once it is known.
        asked: What it will tell of its work.
        first: Rows that were done when it began.
        done: Rows that it did.
        note: What it told.
    """

    part: tuple[int, int]
    actor: Any = None
    work: Any = None
    who: Any = None
    owner: Owner | None = None
    asked: Any = None
    first: int | None = None
    done: int = 0
    note: str = ""


@dataclass
class _Crew:
    """The actors of a store."""

    ray: Any
    on: OnRay
    out: Place
    report: Reporter
    job: tuple[Any, ...]
    running: list[_Slot] = field(default_factory=list)
    ended: list[StoreSummary] = field(default_factory=list)
    lost_rows: int = 0
    in_vain: int = 0
    total: int = 0
    opened: bool = False

    def run(self) -> StoreSummary:
        """Let them work until all is in place."""
        started, count, alone = time.monotonic(), self.on.actors or self._room(), False
        # The first one lists the clips; the others come when there is a job that they can find.
        self._start(_Slot((1, count)))
        waiting = [_Slot((at, count)) for at in range(2, count + 1)]
        while self.running:
            if self.opened and waiting:
                for slot in waiting:
                    self._start(slot)
                waiting = []
            self._turn()
            if self.ended and not self.ended[-1].left:
                waiting = []
                self._dismiss_who_did_not_begin()
            elif not self.running and (self.ended[-1].captioned or not alone):
                # Others held something when it looked, and may have been lost or ended since.
                alone = True
                self._start(_Slot((1, 1)))
        return self._summary(time.monotonic() - started)

    def end(self) -> None:
        """End all that still work, and let others have what they hold."""
        for slot in self.running:
            self.ray.kill(slot.actor)
        owners = [slot.owner for slot in self.running if slot.owner is not None]
        self.running = []
        if owners:
            self._free(owners)

    def _room(self) -> int:
        """Actors that the cluster has room for."""
        if self.on.gpus:
            return max(1, int(self.ray.cluster_resources().get("GPU", 0) / self.on.gpus))
        nodes = [one for one in self.ray.nodes() if one["Alive"] and one["Resources"].get("CPU", 0) > 0]
        return max(1, len(nodes))

    def _start(self, slot: _Slot) -> None:
        options = {"num_gpus": self.on.gpus, "num_cpus": self.on.cpus, "scheduling_strategy": "SPREAD"}
        slot.actor = self.ray.remote(max_concurrency=2, max_restarts=0)(Worker).options(**options).remote()
        slot.work = slot.actor.work.remote(self.job, slot.part, again=not self.opened)
        slot.who, slot.owner, slot.asked = slot.actor.who.remote(), None, None
        slot.first, slot.done = None, 0
        self.running.append(slot)

    def _turn(self) -> None:
        """Wait a moment, and see who is done or lost, and how far the others are."""
        ready, _ = self.ray.wait([slot.work for slot in self.running], timeout=_POLL_S)
        for slot in [one for one in self.running if one.work in ready]:
            self.running.remove(slot)
            self._ended(slot)
        for slot in self.running:
            self._ask(slot)
        if self.total:
            first = min((slot.first for slot in self.running if slot.first is not None), default=0)
            done = min(self.total, first + self.lost_rows + sum(slot.done for slot in self.running))
            self.report(_TASK, done, self.total, self._note())

    def _ended(self, slot: _Slot) -> None:
        try:
            summary = self.ray.get(slot.work)
        except self.ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, VidaptError):
                raise error.cause from error
            raise
        except self.ray.exceptions.RayActorError as error:
            self._lost(slot, error)
            return
        self.opened, self.in_vain = True, 0
        self.ended.append(summary)
        self.ray.kill(slot.actor)

    def _lost(self, slot: _Slot, error: Exception) -> None:
        """Free what a lost actor held, and put another one in its place."""
        self.in_vain = 0 if slot.done else self.in_vain + 1
        if self.in_vain > _IN_VAIN * max(1, len(self.running)):
            said = str(error).strip().splitlines()[0]
            remedy = "read Ray's logs; too little memory is the usual reason"
            raise VidaptError(str(self.out), f"actors are lost again and again: {said}", remedy) from error
        self.lost_rows += slot.done
        if slot.owner is not None:
            self._free([slot.owner])
        self._start(_Slot(slot.part))

    def _free(self, owners: Sequence[Owner]) -> None:
        known = {(one.machine, one.pid, one.started) for one in owners}
        store_at(self.out).free(lambda owner: (owner.machine, owner.pid, owner.started) in known)

    def _ask(self, slot: _Slot) -> None:
        """Take in what an actor answered, and ask again; who is lost is seen by his work."""
        if slot.owner is None:
            slot.owner = self._answer(slot.who)
        if slot.asked is not None and self._ready(slot.asked):
            told, slot.asked = self._answer(slot.asked), None
            if told is not None:
                self._take(slot, told)
        if slot.asked is None and slot.owner is not None:
            slot.asked = slot.actor.told.remote()

    def _take(self, slot: _Slot, told: tuple[str, int, int, str]) -> None:
        task, done, total, slot.note = told
        if task != _TASK:
            self.report(task, done, total, slot.note)
            return
        self.opened, self.total = True, total
        if slot.first is None:
            slot.first = done
        if done > slot.first:
            slot.done, self.in_vain = done - slot.first, 0

    def _ready(self, ref: Any) -> bool:
        return bool(self.ray.wait([ref], timeout=0)[0])

    def _answer(self, ref: Any) -> Any:
        """What a call gave; None if there is nothing yet, or never will be."""
        try:
            return self.ray.get(ref) if self._ready(ref) else None
        except self.ray.exceptions.RayError:
            return None

    def _note(self) -> str:
        working = sum(slot.first is not None for slot in self.running)
        told = next((slot.note for slot in self.running if slot.note), "")
        return f"{working} of {len(self.running)} actors" + (f"; one: {told}" if told else "")

    def _dismiss_who_did_not_begin(self) -> None:
        """All is in place: for whom there was no room until now is not needed any more."""
        for slot in [one for one in self.running if one.owner is None and self._answer(one.who) is None]:
            self.ray.kill(slot.actor)
            self.running.remove(slot)

    def _summary(self, seconds: float) -> StoreSummary:
        last = max(self.ended, key=lambda one: one.inputs - one.left)
        captioned = sum(one.captioned for one in self.ended)
        outputs = next((one.outputs for one in self.ended if one.outputs), last.outputs)
        left_out: Mapping[str, int] = next((one.left_out for one in self.ended if one.left_out), {})
        return replace(
            last,
            captioned=captioned,
            kept=last.captioned + last.kept - captioned,
            outputs=outputs,
            left_out=dict(left_out),
            seconds=seconds,
            clips_per_s=captioned / max(1e-6, seconds),
            waited=sum(one.waited * one.captioned for one in self.ended) / max(1, captioned),
        )
