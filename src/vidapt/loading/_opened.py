"""Open a model by its name, and write it for other tools."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidapt.errors import CheckpointError, ConfigError
from vidapt.files import exists
from vidapt.loading._places import ADAPTER, BLUEPRINT, DUAL, locate

if TYPE_CHECKING:
    import torch

    from vidapt.hub import LoadReport
    from vidapt.models.placement import Bits
    from vidapt.models.video_lm import VideoLM


def open_model(
    name: str | Path,
    dtype: torch.dtype | str | None = None,
    device: str = "cpu",
    tell: Callable[[LoadReport], object] | None = None,
    bits: Bits | None = None,
    *,
    rounded: bool = False,
) -> tuple[VideoLM, Any]:
    """A model in evaluation mode and its tokenizer.

    Args:
        name: See `locate`.
        dtype: Number format of the weights or its name; None is what `number_format` chooses.
        device: Where it runs; `auto` spreads the language model over the devices there are.
        tell: Called with what became of every tensor, where a published checkpoint is opened.
        bits: Quantise the language model, for answering only; needs bitsandbytes, if not 8 on a processor.
        rounded: Open an export in eight bits, too, for answering only.

    Raises:
        CheckpointError: If there is no such model, its weights do not fit exactly, or it names a part outside
            vidapt whose module has not been imported.
        ConfigError: If there is no such device, or bitsandbytes is needed and absent.
    """
    import torch

    from vidapt.models.int8_linear import quantize_for_processor
    from vidapt.models.placement import quantize, spread

    folder = locate(name)
    place = None if device == "auto" else usable_device(device)
    kept = getattr(torch, dtype) if isinstance(dtype, str) else dtype or number_format(device)
    if (folder / DUAL).is_file():
        raise _compares(folder)
    if (folder / BLUEPRINT).is_file():
        from vidapt.models.folder import open_folder

        model, tokenizer = open_folder(folder, kept)
    else:
        model, tokenizer, report = open_published(folder, kept, rounded=rounded)
        if tell is not None:
            tell(report)
    if bits == 8 and place is not None and place.type == "cpu":
        quantize_for_processor(model)
    elif bits is not None:
        quantize(model, bits)
    if place is None:
        spread(model)
        return model, tokenizer
    return model.to(place), tokenizer


def outline_model(name: str | Path) -> tuple[VideoLM, Any]:
    """A model for its sizes alone, and its tokenizer: no weight of it is read.

    A published checkpoint's folder need not hold any: its configuration and its tokenizer will do.

    Args:
        name: See `locate`.

    Returns:
        The model; its weights are on `meta`, or mapped from the files of a published checkpoint, as stored.

    Raises:
        CheckpointError: If there is no such model, or its description cannot be read.
    """
    folder = locate(name)
    if (folder / DUAL).is_file():
        raise _compares(folder)
    if not (folder / BLUEPRINT).is_file():
        from vidapt.hub import describe_checkpoint

        published = (folder / "config.json").is_file()
        weights = any(folder.glob("*.safetensors*")) or any(folder.glob("*.bin*"))
        return describe_checkpoint(folder) if published and not weights else open_published(folder, None)[:2]
    from vidapt.models.assign import parameters_on_meta
    from vidapt.models.folder import read_blueprint, read_tokenizer
    from vidapt.models.origin import read_origin
    from vidapt.models.video_lm import VideoLM

    with parameters_on_meta():
        model = VideoLM(read_blueprint(folder))
    model.origin = read_origin(folder)
    return model, read_tokenizer(folder)


def _compares(folder: Path) -> CheckpointError:
    return CheckpointError(
        folder, "a dual encoder compares clips with texts and writes none", "match clips with it instead"
    )


def open_published(
    folder: Path, dtype: torch.dtype | None, *, rounded: bool = False
) -> tuple[VideoLM, Any, LoadReport]:
    """A published checkpoint, or what was trained on the one that its folder names."""
    from vidapt.hub import base_named_by, base_of, open_adapter, open_checkpoint

    if (folder / "config.json").is_file():
        named = base_named_by(folder)
        base = None if named is None else _base(folder, named, "config.json")
        return open_checkpoint(folder, dtype=dtype, base=base, rounded=rounded)
    return open_adapter(folder, _base(folder, base_of(folder), ADAPTER), dtype)


def _base(folder: Path, named: str, told_in: str) -> Path:
    """Folder of the checkpoint beneath another, which a path may name from that one's folder on."""
    beside = folder / named
    try:
        return locate(beside if exists(beside) else named)
    except CheckpointError as error:
        raise CheckpointError(
            folder / told_in,
            f"the weights here lie on those of {named!r}: {error.where} {error.found}",
            "download that checkpoint and write its folder in place of the name",
        ) from error


def number_format(device: str) -> torch.dtype:
    """The number format in which a model answers where none is asked for.

    bfloat16 on CUDA devices that compute in it: half the memory, and many times the speed of float32, which
    is exact there, since TensorFloat-32 is left off. float32 everywhere else.
    """
    import torch

    on_cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    return torch.bfloat16 if on_cuda and torch.cuda.is_bf16_supported() else torch.float32


def usable_device(name: str) -> torch.device:
    """The device called `name`, such as `cpu`, `cuda` or `cuda:1`.

    Raises:
        ConfigError: If torch does not know it or this machine does not have it.
    """
    import torch

    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError("device", f"{name!r} cannot be used: {reason}", "use cpu") from error
    return device
