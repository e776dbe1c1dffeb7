"""Caption a store in processes that are killed at random moments, until it is done.

Two processes, each with a decoder of its own, work on one store; so many times one of them is killed, and
another one begins. They are forked from this one, which has imported what is slow and does not compute. How
many rows were noted at each kill is written as JSON.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store.work import caption_store
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding

TOKENS, BATCH, SHARD = 12, 2, 4


def child(model: Path, clips: Path, store: Path) -> int:
    """Work on a store in a process of its own; gives its number."""
    number = os.fork()
    if number:
        return number
    try:
        torch.set_num_threads(1)
        options = {"decoding": Decoding(max_new_tokens=TOKENS), "batch": BATCH, "shard": SHARD}
        caption_store(Builtin(load(model)), clips, store, workers=1, prompts=["what?", "who?"], **options)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - it must not go on as the process it came from
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def ended(number: int) -> bool:
    """Wait for a child; whether it was killed."""
    _, status = os.waitpid(number, 0)
    assert os.WIFSIGNALED(status) or status == 0, status
    return os.WIFSIGNALED(status)


def noted(store: Path) -> int:
    """Rows in journals and in place."""
    lines = sum(path.read_bytes().count(b"\n") for path in store.glob("jobs/*/shards/*.jsonl"))
    return lines + SHARD * sum(1 for _ in store.glob("jobs/*/rows/*.parquet"))


def kill_often(model: Path, clips: Path, store: Path, kills: int, seed: int, told: Path) -> None:
    """Carry it out."""
    chance = random.Random(seed)
    load(model)  # whatever is imported late is imported now
    children, met = [child(model, clips, store) for _ in range(2)], list[int]()
    deadline = time.monotonic() + 100
    while len(met) < kills and time.monotonic() < deadline:
        time.sleep(chance.uniform(0.05, 0.6))
        at = chance.randrange(2)
        os.kill(children[at], signal.SIGKILL)
        if ended(children[at]):
            met.append(noted(store))
        if (store / "captions.parquet").exists():
            break
        children[at] = child(model, clips, store)
    else:
        at = 2
    for place, number in enumerate(children):
        if place != at:
            ended(number)
    ended(child(model, clips, store))
    told.write_text(json.dumps(met), encoding="utf-8")
