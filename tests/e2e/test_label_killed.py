"""`vidapt label` killed on the way: run again, it goes on, and no answer is paid for twice."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from killed_tools import Command, stop_when
from label_tools import (
    beside,
    film_all,
    label,
    lines,
    provenance,
    recipe,
    recipe_file,
    teacher,
    without_times,
)
from served_tools import serving

CLIPS = 6


class Counting:
    """Answers slowly, and counts how often it was asked the same."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Any:
        with self._lock:
            self.begun[str(body)] += 1
        time.sleep(0.05)
        return teacher(body)


STATUS = {signal.SIGKILL: -9, signal.SIGTERM: 143}


@pytest.mark.parametrize("how", STATUS)
def test_a_killed_job_goes_on_and_pays_for_nothing_twice(how: signal.Signals, tmp_path: Path) -> None:
    clips, out, answering = film_all(tmp_path / "clips", CLIPS), tmp_path / "out.jsonl", Counting()
    slow = {"concurrency": 2}
    with serving(answering) as fake:
        file = recipe_file(tmp_path / "label.yaml", fake, "facts", endpoint=slow)
        replies = beside(out, "replies")
        own = ["label", clips, "--recipe", file]
        running = Command(*own, "--out", out, "--workers", "0")

        def some_answers() -> bool:
            return replies.exists() and replies.read_bytes().count(b'"reply"') >= 3

        assert stop_when(some_answers, running, how) == STATUS[how]
        assert not out.exists()
        so_far = [line for line in replies.read_text().splitlines(keepends=True) if line.endswith("\n")]
        answered = sum('"reply"' in line for line in so_far)
        open_ = sum('"asked"' in line for line in so_far) - answered
        begun = sum(answering.begun.values())
        if how == signal.SIGTERM:
            assert (open_, begun) == (0, answered), "what was under way is waited for"

        summary = label(recipe(fake, "facts", endpoint=slow), clips, out)

        assert (summary.labelled + summary.kept, summary.broken, summary.unsettled) == (CLIPS, 0, open_)
        assert sum(answering.begun.values()) == begun + summary.calls - answered
        twice = sum(count - 1 for count in answering.begun.values())
        assert twice <= open_ <= 2, "only what was under way may be paid for again"
        keys = [line["reply"] for line in lines(replies) if "reply" in line]
        assert len(keys) == len(set(keys)) == summary.calls
        label(recipe(fake, "facts", endpoint=slow), clips, tmp_path / "whole.jsonl")
    assert without_times(provenance(out)) == without_times(provenance(tmp_path / "whole.jsonl"))
    assert lines(out) == lines(tmp_path / "whole.jsonl")
    assert not beside(out, "partial").exists()
