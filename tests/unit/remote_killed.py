"""Two processes that caption into an object store, of which one is killed in the middle of a shard.

`python remote_killed.py CLIPS STORE SHARD BATCH`. They are forked from this one, which has imported what is
slow and has no threads by then. Prints which one was.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from _stub_engine import StubEngine
from vidapt.captioning.objects import Objects
from vidapt.captioning.store import leases
from vidapt.captioning.store.work import caption_store


def child(clips: Path, out: str, shard: int, batch: int) -> int:
    """Caption in a process of its own; gives its number."""
    number = os.fork()
    if number:
        return number
    try:
        leases.BEAT_S = 0.2
        caption_store(StubEngine(pause_s=0.5), clips, out, shard=shard, batch=batch, workers=0)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - it must not go on as the process it came from
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


def noting(objects: Objects) -> int | None:
    """The process whose rows of a shard under way were sent."""
    for job in objects.names("jobs"):
        for number in objects.names(f"jobs/{job}/shards"):
            folder = f"jobs/{job}/shards/{number}"
            names = objects.names(folder)
            if any(name.endswith(".jsonl") for name in names):
                told = objects.json(f"{folder}/{names[-1]}")
                if told is not None and told["beat"]:
                    return int(told["pid"])
    return None


def main() -> None:
    """Carry it out."""
    clips, out, shard, batch = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    children = [child(clips, out, shard, batch) for _ in range(2)]
    objects, deadline = Objects(out), time.monotonic() + 60
    while (met := noting(objects)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert met in children, met
    os.kill(met, signal.SIGKILL)
    ended = {one: os.waitpid(one, 0)[1] for one in children}
    assert os.WIFSIGNALED(ended.pop(met)), "it was done before"
    assert not any(ended.values())
    print(json.dumps(children.index(met)))


if __name__ == "__main__":
    main()
