"""Trains by LLaMA-Factory and reads the clock between its steps. Runs under LLaMA-Factory's own Python.

    python _llamafactory_driver.py TASK.json

The task names the checkpoint, the side of its input, and LLaMA-Factory's arguments; into its `out` go the
process's CPU time behind every step and, where they are logged, the losses.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

# Where torch is the CPU build, the index's torchvision and torchaudio may be of the CUDA one: their compiled
# operators are then not there, and neither can be imported. Reading clips uses none of them: it is enough
# that the two operators that are asked for by name have one, and that something is called torchaudio.
_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
if torch.version.cuda is None:
    _NAMES = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _NAMES.define(_name + _BOXES)
    sys.modules["torchaudio"] = ModuleType("torchaudio")
    sys.modules["torchaudio"].__spec__ = ModuleSpec("torchaudio", None)

from llamafactory.train.tuner import run_exp  # noqa: E402
from transformers import (  # noqa: E402
    AutoTokenizer,
    LlavaNextImageProcessor,
    LlavaNextVideoProcessor,
    LlavaNextVideoVideoProcessor,
    TrainerCallback,
)


def _called(self: Any, videos: Any, images: None = None, **given: Any) -> Any:
    """LLaMA-Factory says that there are no images, by a name that this transformers does not know."""
    del images
    return self.preprocess(videos, **given)


class _Mark(TrainerCallback):
    def __init__(self) -> None:
        self.marks, self.losses = list[float](), list[float]()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.marks.append(time.process_time())

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        del args, state, control
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


def add_processor(checkpoint: str, side: int, patch: int) -> None:
    """Put beside a checkpoint what its own library needs to read clips."""
    sizes = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    processor = LlavaNextVideoProcessor(
        video_processor=LlavaNextVideoVideoProcessor(**sizes),
        image_processor=LlavaNextImageProcessor(**sizes),
        tokenizer=AutoTokenizer.from_pretrained(checkpoint),
        patch_size=patch,
        vision_feature_select_strategy="default",
        image_token="<video>",
        video_token="<video>",
    )
    processor.save_pretrained(checkpoint)


def main() -> None:
    task = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    add_processor(task["arguments"]["model_name_or_path"], task["side"], task["patch"])
    LlavaNextVideoVideoProcessor.__call__ = _called
    mark = _Mark()
    run_exp(task["arguments"], callbacks=[mark])
    found = {"marks": mark.marks, "losses": mark.losses}
    Path(task["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
