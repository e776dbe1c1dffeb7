from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
from caption_tools import CLIPS, TOKENS, film_all, lines, partial, said, save_tiny_model

from vidapt.captioning.bulk import caption_folder
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding

JOB = """
import sys, time
from pathlib import Path
from vidapt.captioning.bulk import caption_folder
from vidapt.inference.load import load
from vidapt.models.decoding import Decoding

def report(task, done, total, note=""):
    if task == "caption" and done >= 4:
        print("reached", flush=True)
        time.sleep(600)

model, clips, out, tokens = sys.argv[1:]
decoding = Decoding(max_new_tokens=int(tokens))
caption_folder(load(model), Path(clips), Path(out), decoding=decoding, workers=2, batch=2, report=report)
"""


def test_killed_without_warning_the_job_goes_on_to_the_same_rows(tmp_path: Path) -> None:
    model, clips = save_tiny_model(tmp_path / "tiny"), film_all(tmp_path / "clips")
    out = tmp_path / "captions.jsonl"
    command = [sys.executable, "-c", JOB, str(model), str(clips), str(out), str(TOKENS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "reached\n"
        workers = psutil.Process(job.pid).children(recursive=True)
        job.kill()
        assert job.wait() == -signal.SIGKILL
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
