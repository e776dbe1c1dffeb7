"""A store of captions on a local Ray cluster of three nodes, of which one after the other is killed.

    python benchmarks/caption_ray.py [--clips 10000] [--kills 20] [--seed 0] [--folder FOLDER]

A stub stands for the model. The head has no room for actors; each of three more raylets has for one. At
random moments one of these is killed with SIGKILL, so that its actor dies as well, and a new one joins. The
rows are compared with those of a run in one process that nothing happened to. Results go to
`results/caption_ray.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_DISABLE_MEMORY_MONITOR", "1")

from _machine import describe
from caption_store import ended, forked, parts, rows_of, write_clips

RESULTS = Path(__file__).parent / "results" / "caption_ray.json"
NODES, SHARD, BATCH = 3, 64, 4
ROOM = {"object_store_memory": 80 << 20, "include_dashboard": False}
PAUSE_S = 0.7
"""Seconds that a batch takes."""


def open_stub() -> Any:
    """The stub, in an actor."""
    from _stub_engine import StubEngine

    return StubEngine(pause_s=PAUSE_S)


class Killer:
    """Kills a raylet at a random moment, so many times, and lets another one join; told how far the work is.

    Args:
        cluster: The cluster.
        nodes: Its nodes but the head.
        out: The store.
        times: Kills.
        seed: Of moments and nodes.

    Attributes:
        met: Shards that were in place at each kill.
    """

    def __init__(self, cluster: Any, nodes: list[Any], out: Path, times: int, seed: int) -> None:
        self.met: list[int] = []
        self._cluster, self._nodes, self._out = cluster, nodes, out
        self._times, self._chance = times, random.Random(seed)
        self._due = 0.0

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """As a `Reporter`: who waits for the actors calls it again and again."""
        if task != "caption" or len(self.met) == self._times:
            return
        if self._due and time.monotonic() > self._due:
            at = self._chance.randrange(len(self._nodes))
            self.met.append(parts(self._out))
            self._cluster.remove_node(self._nodes[at], allow_graceful=False)
            self._nodes[at] = self._cluster.add_node(num_cpus=1, wait=False, **ROOM)
            self._due = 0.0
        if not self._due:
            self._due = time.monotonic() + self._chance.uniform(2.0, 14.0)


def kills(folder: Path, clips: int, times: int, seed: int) -> dict[str, Any]:
    """A run on a cluster whose nodes are killed, and one that nothing happens to."""
    source, out = folder / "clips", folder / "cut"
    write_clips(source, clips)
    ended(forked(source, folder / "whole", 0.0, shard=SHARD, batch=BATCH))
    import ray
    from ray.cluster_utils import Cluster

    from vidapt.captioning.cluster import OnRay, caption_on_ray

    began = time.monotonic()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **ROOM})
    nodes = [cluster.add_node(num_cpus=1, **ROOM) for _ in range(NODES)]
    up = time.monotonic() - began
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    killer = Killer(cluster, nodes, out, times, seed)
    try:
        how = {"shard": SHARD, "batch": BATCH, "workers": 0, "report": killer}
        done = caption_on_ray(open_stub, source, out, on=OnRay(actors=NODES), **how)
    finally:
        ray.shutdown()
        cluster.shutdown()
    rows, whole = rows_of(out), rows_of(folder / "whole")
    return {
        "clips": clips,
        "nodes": NODES,
        "raylets_killed": len(killer.met),
        "shards_in_place_at_kills": killer.met,
        "shards": -(-clips // SHARD),
        "cluster_up_s": up,
        "seconds": done.seconds,
        "left": done.left,
        "rows": len(rows),
        "names": len({row["clip"] for row in rows}),
        "equal_to_uninterrupted": rows == whole,
        "failed": sum(row["status"] == "failed" for row in rows),
    }


def main() -> None:
    """Carry out what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        found = kills(folder, given.clips, given.kills, given.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found, indent=2))
    RESULTS.write_text(json.dumps(found | {"machine": describe()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
