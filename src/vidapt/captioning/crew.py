"""The actors that work on a store: begun, asked how far they are, and replaced when they are lost."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from vidapt.captioning.places import Place
from vidapt.captioning.store.remote import store_at
from vidapt.captioning.store.summary import StoreSummary
from vidapt.captioning.store.work import SHARD, caption_store
from vidapt.errors import VidaptError
from vidapt.locks import Owner, this_process
from vidapt.progress import Reporter

_POLL_S = 0.5
_IN_VAIN = 5
"""Actors that are lost one after the other, nothing being done meanwhile, before it is given up."""

_TASK = "caption"


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
        open_engine, sources, out, how, folder = job
        with suppress(OSError):  # names of models and files are meant from where the command was given
            os.chdir(folder)

        def report(task: str, done: int, total: int, note: str = "") -> None:
            self._told = task, done, total, note

        with closing(open_engine()) as engine:
            return caption_store(
                engine, sources, out, **how, part=part, others=True, again=again, report=report
            )


@dataclass
class Slot:
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
class Crew:
    """The actors of a store.

    Attributes:
        ray: The library, which is connected.
        out: The store.
        report: Told how far all of them are.
        job: How to open the model, where clips lie, the store, further options, and where names begin.
        actors: How many; None is as many as there is room for.
        gpus: GPUs of each.
        cpus: Cores of each.
        running: Who works.
        ended: What those did who are through.
        base: Rows that were done before.
        gone_rows: Rows of those who ended or were lost.
        in_vain: Actors that were lost since something was done.
        total: Rows of the job.
        opened: Whether there is a job that others find.
    """

    ray: Any
    out: Place
    report: Reporter
    job: tuple[Any, ...]
    actors: int | None
    gpus: float
    cpus: float
    running: list[Slot] = field(default_factory=list)
    ended: list[StoreSummary] = field(default_factory=list)
    base: int | None = None
    gone_rows: int = 0
    in_vain: int = 0
    total: int = 0
    opened: bool = False

    def run(self) -> StoreSummary:
        """Let them work until all is in place."""
        started, count, alone = time.monotonic(), self.actors or self._room(), False
        # The first one lists the clips; the others come when there is a job that they can find.
        self._start(Slot((1, count)))
        waiting = [Slot((at, count)) for at in range(2, count + 1)]
        while self.running:
            if self.opened and waiting:
                for slot in waiting[: self._useful(count) - 1]:
                    self._start(slot)
                waiting = []
            self._turn()
            if self.ended and not self.ended[-1].left:
                waiting = []
                self._dismiss_who_did_not_begin()
            elif not self.running and (self.ended[-1].captioned or not alone):
                # Others held something when it looked, and may have been lost or ended since.
                alone = True
                self._start(Slot((1, 1)))
        summary = self._summary(time.monotonic() - started, count)
        self.report(_TASK, summary.inputs - summary.left, summary.inputs)
        return summary

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
        if self.gpus:
            return max(1, int(self.ray.cluster_resources().get("GPU", 0) / self.gpus))
        nodes = [one for one in self.ray.nodes() if one["Alive"] and one["Resources"].get("CPU", 0) > 0]
        return max(1, len(nodes))

    def _start(self, slot: Slot) -> None:
        options = {"num_gpus": self.gpus, "num_cpus": self.cpus, "scheduling_strategy": "SPREAD"}
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
            self.gone_rows += slot.done
            self._ended(slot)
        for slot in self.running:
            self._ask(slot)
        if self.total:
            here = sum(slot.done for slot in self.running)
            done = min(self.total, (self.base or 0) + self.gone_rows + here)
            self.report(_TASK, done, self.total, self._note())

    def _ended(self, slot: Slot) -> None:
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

    def _lost(self, slot: Slot, error: Exception) -> None:
        """Free what a lost actor held, and put another one in its place."""
        self.in_vain = 0 if slot.done else self.in_vain + 1
        if self.in_vain > _IN_VAIN * max(1, len(self.running)):
            said = str(error).strip().splitlines()[0]
            remedy = "read Ray's logs; too little memory is the usual reason"
            raise VidaptError(str(self.out), f"actors are lost again and again: {said}", remedy) from error
        self.ray.kill(slot.actor)  # Ray may only have lost sight of it
        if slot.owner is not None:
            self._free([slot.owner])
        self._start(Slot(slot.part))

    def _free(self, owners: Sequence[Owner]) -> None:
        known = {(one.machine, one.pid, one.started) for one in owners}
        store_at(self.out).free(lambda owner: (owner.machine, owner.pid, owner.started) in known)

    def _ask(self, slot: Slot) -> None:
        """Take in what an actor answered, and ask again; who is lost is seen by his work."""
        if slot.owner is None:
            slot.owner = self._answer(slot.who)
        if slot.asked is not None and self._ready(slot.asked):
            told, slot.asked = self._answer(slot.asked), None
            if told is not None:
                self._take(slot, told)
        if slot.asked is None and slot.owner is not None:
            slot.asked = slot.actor.told.remote()

    def _take(self, slot: Slot, told: tuple[str, int, int, str]) -> None:
        task, done, total, slot.note = told
        if task != _TASK:
            self.report(task, done, total, slot.note)
            return
        self.opened, self.total = True, total
        if slot.first is None:
            slot.first = done
        if self.base is None:
            self.base = done
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

    def _useful(self, count: int) -> int:
        """So many of these actors find a shard."""
        shard = int(self.job[3].get("shard", SHARD))
        return min(count, math.ceil(self.total / shard)) if self.total else count

    def _summary(self, seconds: float, count: int) -> StoreSummary:
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
            idle=max(0, count - last.shards) if self.actors else 0,
            seconds=seconds,
            clips_per_s=captioned / max(1e-6, seconds),
            waited=sum(one.waited * one.captioned for one in self.ended) / max(1, captioned),
        )
