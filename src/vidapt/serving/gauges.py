"""Numbers of a server, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from threading import Lock

_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_Labels = tuple[tuple[str, str], ...]

_HELP = {
    "vidapt_requests_total": "Requests, by path and status.",
    "vidapt_tokens_total": "Tokens, by model and whether they were read or written.",
    "vidapt_batches_total": "Batches answered, by model.",
    "vidapt_batched_total": "Questions answered in batches, by model.",
    "vidapt_failures_total": "Questions at which a model failed, by model.",
}


class Gauges:
    """Counts, how long requests took, and what is asked when the numbers are read. Any thread may count."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: defaultdict[tuple[str, _Labels], float] = defaultdict(float)
        self._took: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * (len(_BOUNDS) + 2))
        self._now: dict[str, tuple[str, Callable[[], float]]] = {}

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Count; labels hold words of ours, never what somebody sent."""
        with self._lock:
            self._counts[name, tuple(sorted(labels.items()))] += amount

    def took(self, path: str, seconds: float) -> None:
        """Note how long a request took."""
        with self._lock:
            row = self._took[path]
            for index, bound in enumerate(_BOUNDS):
                row[index] += seconds <= bound
            row[-2] += 1
            row[-1] += seconds

    def watch(self, name: str, said: str, value: Callable[[], float]) -> None:
        """Ask for a number whenever all are read."""
        self._now[name] = (said, value)

    def text(self) -> str:
        """All numbers."""
        with self._lock:
            lines = [*self._counted(), *self._timed()]
        for name, (said, value) in sorted(self._now.items()):
            lines += [f"# HELP {name} {said}", f"# TYPE {name} gauge", f"{name} {value():g}"]
        return "\n".join(lines) + "\n"

    def _counted(self) -> Iterator[str]:
        last = ""
        for (name, labels), count in sorted(self._counts.items()):
            if name != last:
                yield from (f"# HELP {name} {_HELP[name]}", f"# TYPE {name} counter")
                last = name
            yield f"{name}{_shown(labels)} {count:g}"

    def _timed(self) -> Iterator[str]:
        name = "vidapt_request_seconds"
        yield from (f"# HELP {name} How long requests took, by path.", f"# TYPE {name} histogram")
        for path, row in sorted(self._took.items()):
            for bound, count in zip((*map(str, _BOUNDS), "+Inf"), row, strict=False):
                yield f"{name}_bucket{_shown((('path', path), ('le', bound)))} {count:g}"
            yield f"{name}_count{_shown((('path', path),))} {row[-2]:g}"
            yield f"{name}_sum{_shown((('path', path),))} {row[-1]:.6f}"


def _shown(labels: _Labels) -> str:
    quoted = (
        (key, text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")) for key, text in labels
    )
    inner = ",".join(f'{key}="{text}"' for key, text in quoted)
    return f"{{{inner}}}" if inner else ""
