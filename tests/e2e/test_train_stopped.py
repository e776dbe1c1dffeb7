"""Long commands stopped as a scheduler stops them, and a second process that wants the same folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from caption_tools import film_all, save_tiny_model
from killed_tools import VIDAPT, Command, one_thread, silent
from safetensors.torch import load_file
from test_train_killed import write_data
from torch import Tensor

from vidapt.recipe import load_recipe
from vidapt.training.run import train

UNSAVED = ["stages.0.save_every=100000"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def started(words: Sequence[str | Path]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [VIDAPT, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=ONE_THREAD
    )


def stopped(
    job: subprocess.Popen[str], reached: Callable[[], object], how: signal.Signals
) -> tuple[int, str]:
    """Exit status and what was said, of a job that gets a signal once something is reached."""
    try:
        while not reached():
            assert job.poll() is None, "it ended before it was stopped"
            time.sleep(0.005)
        job.send_signal(how)
        job.send_signal(signal.SIGCONT)  # whoever was held up meets the other signal first
        _, said = job.communicate(timeout=200)
        return job.returncode, said
    finally:
        job.kill()
        job.wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A recipe, and the weights of a run that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    write_data(folder)
    with one_thread():
        run = train(load_recipe(folder / "recipe.yaml", UNSAVED), folder / "runs", silent, workers=0)
    return folder / "recipe.yaml", load_file(run / "01-a" / "model" / "model.safetensors")


@pytest.mark.timeout(900)  # it starts processes, which import torch; that takes long on a busy machine
@pytest.mark.parametrize(("how", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_saves_its_step_and_one_process_alone_may_train(
    whole: tuple[Path, dict[str, Tensor]], tmp_path: Path, how: signal.Signals, status: int
) -> None:
    file, expected = whole
    command = ["train", file, "--runs", tmp_path / "cut", "--workers", "0", "--set", *UNSAVED]
    work = tmp_path / "cut" / "run" / "01-a" / "work"
    said = [tmp_path / name for name in ("job.txt", "other.txt")]
    job = Command(*command, told=(None, said[0]))

    def second_is_refused() -> bool:
        if not (work / "metrics.jsonl").exists() or not (work / "metrics.jsonl").read_text():
            return False
        job.send_signal(signal.SIGSTOP)  # it shall not finish meanwhile, nor before it is stopped
        other = Command(*command, "--resume", told=(None, said[1]))
        assert other.wait(200) == 2, said[1].read_text()
        assert f"is being written by another process: {job.pid} on" in said[1].read_text()
        return True

    try:
        while not second_is_refused():
            assert job.poll() is None, "it ended before it was stopped"
            time.sleep(0.005)
        job.send_signal(how)
        job.send_signal(signal.SIGCONT)  # whoever was held up meets the other signal first
        assert job.wait(200) == status, said[0].read_text()
    finally:
        job.kill()
    assert "finished work is kept, add --resume to go on" in said[0].read_text()
    (checkpoint,) = work.glob("checkpoint-*")
    step = json.loads((checkpoint / "state.json").read_text())["step"]
    assert 0 < step < 100
    assert list((tmp_path / "cut").glob(".run.owner*")) == []

    with one_thread():
        resumed = train(load_recipe(file, UNSAVED), tmp_path / "cut", silent, workers=0, resume=True)
    found = load_file(resumed / "01-a" / "model" / "model.safetensors")
    assert all(torch.equal(one, found[name]) for name, one in expected.items())


@pytest.mark.timeout(900)
def test_other_long_commands_are_stopped_alike(tmp_path: Path) -> None:
    model, clips = save_tiny_model(tmp_path / "tiny"), film_all(tmp_path / "clips")
    captions, pool = tmp_path / "captions.jsonl", tmp_path / "pool"
    caption = [
        "caption",
        clips,
        "--out",
        captions,
        "--model",
        model,
        "--workers",
        "0",
        "--max-tokens",
        "4000",
    ]
    simulate = ["simulate", "billiards", "--out", pool, "--clips", "5000", "--workers", "1"]
    jobs = [
        (caption, lambda: any(tmp_path.glob(".captions.jsonl.vidapt/jobs/*/shards/*.jsonl"))),
        (simulate, lambda: (pool / "clips").exists()),
    ]
    for command, reached in jobs:
        code, said = stopped(started(command), reached, signal.SIGTERM)
        assert code == 143, said
        assert "finished work is kept, run the same command again to go on" in said
        assert "Traceback" not in said
    assert list(tmp_path.rglob(".*.owner*")) == []
