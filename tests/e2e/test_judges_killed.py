"""`vidapt eval --protocol` killed while a judge is asked: run again, it pays for no reply twice."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from judge_tools import answers, judge_file, judging, made_test, measure, right
from killed_tools import Command, stop_when
from served_tools import serving

CLIPS, UNDER_WAY = 6, 2


class Counting:
    """Judges slowly, and counts how often it was asked the same."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Any:
        with self._lock:
            self.asked[str(body)] += 1
        time.sleep(0.03)
        return judging(body)


def test_a_killed_evaluation_pays_for_no_reply_twice(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    data, out, counting = made_test(tmp_path, CLIPS), tmp_path / "out", Counting()
    model = answers(tmp_path, "m", right(CLIPS, wrong=2))
    with serving(counting) as fake:
        judge = judge_file(tmp_path, fake, endpoint={"concurrency": UNDER_WAY}, frozen=0)
        own = ["eval", model, "--data", data, "--out", out]
        running = Command(*own, "--protocol", "claims", "--judge", judge)
        replies = out / "judge-replies.jsonl"

        def some_replies() -> bool:
            return replies.exists() and replies.read_bytes().count(b'"reply"') >= 5

        assert stop_when(some_replies, running) == -signal.SIGKILL
        assert not (out / "metrics.json").exists() or "protocols" not in (out / "metrics.json").read_text()
        found = measure([model], data, out, judge, "claims")
        twice = sum(count - 1 for count in counting.asked.values())
        assert twice <= UNDER_WAY  # what was under way may be paid for again
        whole = measure([model], data, tmp_path / "whole", judge, "claims")
    assert found.to_dict()["protocols"] == whole.to_dict()["protocols"]
