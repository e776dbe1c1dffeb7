"""A language model that does not learn itself, in four or eight bits while others learn through it.

Source: Dettmers et al. 2023, "QLoRA" (arXiv 2305.14314). What a stage saves never holds rounded numbers: the
matrices as they were wait on disk, and are put back when it is over. Adapters thus learn what helps a rounded
model, and are saved on the exact one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from vidapt.errors import ConfigError
from vidapt.files import disk_errors, remove, write_folder
from vidapt.models.libraries import load_quietly
from vidapt.models.placement import Bits, quantizable, quantize
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Stage
from vidapt.training.freeze import Model

_BITS: dict[str, Bits] = {"8bit": 8, "4bit": 4}
_FOLDER, _FILE = "base", "matrices.safetensors"


@contextmanager
def in_few_bits(model: Model, stage: Stage, folder: Path) -> Iterator[None]:
    """Keep the language model's matrices in as few bits as a stage says, and put them back at its end.

    Args:
        model: On its device; its parts are frozen and freed already.
        stage: What the recipe says.
        folder: Of the stage's work. The matrices wait there, in their own number format.

    Raises:
        ConfigError: If bitsandbytes is not installed.
        VidaptError: If the disk is full.
    """
    bits = _BITS.get(stage.train.base)
    if bits is None or not isinstance(model, VideoLM):
        yield
        return
    device, kept = model.device, folder / _FOLDER
    _set_aside(model, kept)
    compute = torch.bfloat16 if stage.precision == "bfloat16" else torch.float32
    quantize(model, bits, compute)
    model.language.to(device)
    yield
    # Not where an error ended the stage: nothing of the model is used then.
    _put_back(model, kept / _FILE, device)
    remove(kept)


def _set_aside(model: VideoLM, folder: Path) -> None:
    with disk_errors(folder), write_folder(folder) as temporary:
        layers = quantizable(model)
        tensors = {name: layer.weight.detach().cpu().contiguous() for name, layer in layers.items()}
        save_file(tensors, str(temporary / _FILE))


def _put_back(model: VideoLM, file: Path, device: torch.device) -> None:
    with safe_open(file, framework="pt") as opened:
        for name in opened.keys():  # noqa: SIM118 - not a dict
            small = model.language.get_submodule(name)
            weight = opened.get_tensor(name).to(device, copy=True)
            with torch.device("meta"):
                whole = nn.Linear(weight.shape[1], weight.shape[0], bias=small.bias is not None)
            whole.weight = nn.Parameter(weight, requires_grad=False)
            whole.bias = small.bias
            model.language.set_submodule(name, whole)


def check_base(stage: Stage) -> None:
    """See that what few bits need is there.

    Raises:
        ConfigError: If bitsandbytes is not installed.
    """
    if stage.train.base in _BITS:
        try:
            load_quietly("bitsandbytes")
        except ImportError as error:
            raise ConfigError(
                "train.base", f"needs bitsandbytes: {error}", "pip install 'vidapt[quant]'"
            ) from error
