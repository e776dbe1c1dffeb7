from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
from caption_tools import CLIPS, TOKENS, film_all, lines, partial, said, save_tiny_model
from killed_tools import Forked, stop_when

from vidapt.captioning.bulk import caption_folder
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding


def job(model: Path, clips: Path, out: Path, reached: Path) -> None:
    """Caption until four clips are done, say so, and wait."""

    def report(task: str, done: int, total: int, note: str = "") -> None:
        if task == "caption" and done >= 4:
            reached.touch()
            time.sleep(600)

    decoding = Decoding(max_new_tokens=TOKENS)
    caption_folder(load(model), clips, out, decoding=decoding, workers=2, batch=2, report=report)


def test_killed_without_warning_the_job_goes_on_to_the_same_rows(tmp_path: Path) -> None:
    model, clips = save_tiny_model(tmp_path / "tiny"), film_all(tmp_path / "clips")
    out, reached = tmp_path / "captions.jsonl", tmp_path / "reached"
    running, workers = Forked(job, model, clips, out, reached), list[psutil.Process]()

    def has_workers() -> bool:
        if reached.exists():
            workers.extend(psutil.Process(running.pid).children(recursive=True))
        return reached.exists()

    assert stop_when(has_workers, running) == -signal.SIGKILL
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "decode workers must not outlive the job"
    assert not out.exists()
    assert len(lines(partial(out))) == 4

    engine, decoding = load(model), Decoding(max_new_tokens=TOKENS)
    summary = caption_folder(engine, clips, out, decoding=decoding, workers=0, batch=2)
    assert (summary.captioned, summary.kept, summary.broken) == (CLIPS - 4, 4, 0)
    caption_folder(engine, clips, tmp_path / "whole.jsonl", decoding=decoding, workers=0, batch=2)
    assert said(out) == said(tmp_path / "whole.jsonl")
