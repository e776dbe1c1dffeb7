"""LLaMA-Factory on the same work: its release from the package index, in a virtual environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from _packing_work import HEIGHT, PATCH, VIDEO_TOKEN, WIDTH, Work
from vidapt.hub._prompts import VICUNA

RELEASE = "0.9.5"
_MADE = f".llamafactory-{RELEASE}"
"""A file that says that the environment is whole."""

_DRIVER = Path(__file__).with_name("_llamafactory_driver.py")


@dataclass(frozen=True)
class Trained:
    """What LLaMA-Factory gave.

    Attributes:
        marks: CPU seconds of its process behind every step.
        losses: Of every step, where asked for.
    """

    marks: list[float]
    losses: list[float]


def find_python(venv: Path) -> Path | None:
    """Python of an environment that has LLaMA-Factory, which is made once; None, and why, if it cannot be."""
    python = venv / "bin" / "python"
    if (venv / _MADE).exists():
        return python
    torch = metadata.version("torch").partition("+")[0]
    wanted = [f"llamafactory=={RELEASE}", f"torch=={torch}"]
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", *wanted]
    for command in ([sys.executable, "-m", "venv", str(venv)], install):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
            print(f"LLaMA-Factory is left out, it cannot be installed: {reason}", file=sys.stderr, flush=True)
            return None
    (venv / _MADE).touch()
    return python


def versions(python: Path) -> dict[str, str]:
    """Of LLaMA-Factory and what it stands on."""
    ask = "import importlib.metadata as m, json, sys; print(json.dumps([*map(m.version, sys.argv[1:])]))"
    names = ["llamafactory", "torch", "transformers", "peft", "av"]
    done = subprocess.run([python, "-c", ask, *names], capture_output=True, check=True)
    return dict(zip(names, json.loads(done.stdout), strict=True))


def run(
    python: Path,
    work: Work,
    rows: Sequence[Mapping[str, str]],
    steps: int,
    *,
    adapter: Path,
    batch: int,
    accumulation: int,
    **changes: Any,
) -> Trained:
    """Train.

    Args:
        python: See `find_python`.
        work: Checkpoint and clips.
        rows: Questions, in the order in which they are learned from.
        steps: How many.
        adapter: Adapters to go on with.
        batch: Questions computed at once.
        accumulation: How many of these make a step.
        changes: Further arguments of LLaMA-Factory.

    Raises:
        RuntimeError: If it fails, with the end of what it said.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = folder / "checkpoint"
        shutil.copytree(work.checkpoint, checkpoint)
        _write_rows(folder, work, rows)
        arguments = {
            **_ARGUMENTS,
            "model_name_or_path": str(checkpoint),
            "adapter_name_or_path": str(adapter),
            "dataset_dir": str(folder),
            "output_dir": str(folder / "out"),
            "video_maxlen": work.sizes.frames,
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": accumulation,
            "max_steps": steps,
            **changes,
        }
        task = {
            "arguments": arguments,
            "side": work.sizes.side,
            "patch": PATCH,
            "out": str(folder / "found.json"),
        }
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        command = [str(python), str(_DRIVER), str(folder / "task.json")]
        done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
        if done.returncode:
            raise RuntimeError(f"LLaMA-Factory failed: {done.stderr[-2000:]}")
        return Trained(**json.loads((folder / "found.json").read_text(encoding="utf-8")))


_ARGUMENTS: dict[str, Any] = {
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "template": "llava_next_video",
    "default_system": VICUNA.start,
    "dataset": "clips",
    "cutoff_len": 4096,
    # As little work as it can be told to do: no states computed again, no frames made smaller on the way.
    "disable_gradient_checkpointing": True,
    "video_max_pixels": HEIGHT * WIDTH,
    "disable_shuffling": True,
    "dataloader_num_workers": 0,
    "dataloader_pin_memory": False,
    "save_strategy": "no",
    "logging_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
}


def _write_rows(folder: Path, work: Work, rows: Sequence[Mapping[str, str]]) -> None:
    samples = [
        {
            "instruction": f"{VIDEO_TOKEN}\n{row['question']}",
            "output": row["answer"],
            "videos": [str(work.labels.parent / row["video"])],
        }
        for row in rows
    ]
    columns = {"prompt": "instruction", "response": "output", "videos": "videos"}
    described = {"clips": {"file_name": "clips.json", "columns": columns}}
    (folder / "clips.json").write_text(json.dumps(samples), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps(described), encoding="utf-8")


def _environment() -> dict[str, str]:
    """One thread, its own packages, and no network."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
