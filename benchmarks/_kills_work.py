"""A store by a tiny model with decoders of its own, of which any process is killed at any moment."""

from __future__ import annotations

import os
import random
import signal
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import torch

sys.path.append(str(Path(__file__).parents[1] / "tests" / "e2e"))

from caption_tools import film, save_tiny_model

import caption_store as store
from vidapt.captioning.engines.builtin import Builtin
from vidapt.captioning.store.work import caption_store
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding

TOKENS, BATCH, FILMS, EMPTY = 4, 16, 32, 997
BY_THE_BATCH = ("mean_logprob", "logprobs")
"""Columns whose last digits depend on the batch."""


def film_many(folder: Path, count: int) -> None:
    """Tiny films, no two files of which hold the same: what tells them apart is a box that nobody plays."""
    made = [film(folder.parent / "films" / f"{seed}.mp4", seed).read_bytes() for seed in range(FILMS)]
    for number in range(count):
        inside = folder / f"{number // store.IN_A_FOLDER:04d}"
        inside.mkdir(parents=True, exist_ok=True)
        box = struct.pack(">I4sQ", 16, b"free", number)
        held = b"" if number % EMPTY == 3 else made[number % FILMS] + box
        (inside / f"{number}.mp4").write_bytes(held)


def kills_anywhere(folder: Path, clips: int, times: int, seed: int) -> dict[str, Any]:
    """Two processes with a decoder each; one of the four is killed again and again.

    Args:
        folder: Where clips, the model and the stores lie.
        clips: How many.
        times: Kills.
        seed: Of moments and processes.
    """
    source, out, chance = folder / "clips", folder / "cut", random.Random(seed)
    film_many(source, clips)
    model = save_tiny_model(folder / "model")
    load(model)  # whatever is imported late is imported now
    began = time.monotonic()
    store.ended(_forked(model, source, folder / "whole"))
    calm, began = time.monotonic() - began, time.monotonic()
    children, met, killed = [_forked(model, source, out) for _ in range(2)], list[int](), Counter[str]()
    while len(met) < times and not (out / "captions.parquet").exists():
        time.sleep(chance.uniform(0.5, 7.0))
        at = chance.randrange(2)
        decoders = psutil.Process(children[at]).children(recursive=True)
        if decoders and chance.random() < 0.5:
            os.kill(chance.choice(decoders).pid, signal.SIGKILL)
            killed["decoders"] += 1
        else:
            os.kill(children[at], signal.SIGKILL)
            store.ended(children[at])
            children[at] = _forked(model, source, out)
            killed["engines, which are the decoders' parents"] += 1
        met.append(store.parts(out))
    for child in children:
        store.ended(child)
    store.ended(_forked(model, source, out))
    rows, whole = _rows(out), _rows(folder / "whole")
    return {
        "clips": clips,
        "killed": dict(killed),
        "shards_in_place_at_kills": met,
        "uninterrupted_s": calm,
        "seconds": time.monotonic() - began,
        "rows": len(rows),
        "names": len({row["clip"] for row in rows}),
        "rows_that_differ": sum(one != other for one, other in zip(rows, whole, strict=False)),
        "equal_to_uninterrupted": rows == whole,
        "failed": sum(row["status"] == "failed" for row in rows),
    }


def _forked(model: Path, source: Path, out: Path) -> int:
    """A process that captions a store, with a decoder; its number."""
    number = os.fork()
    if number:
        return number
    try:
        torch.set_num_threads(1)
        decoding = Decoding(max_new_tokens=TOKENS)
        caption_store(Builtin(load(model)), source, out, decoding=decoding, batch=BATCH, workers=1)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - it must not go on as the process it came from
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def _rows(out: Path) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name not in BY_THE_BATCH} for row in store.rows_of(out)]
