"""Parts that are published alone: what a folder holds is told by its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub._files import read_json
from vidapt.hub._parts_convnext import ConvnextPart, convnext_part
from vidapt.hub._parts_language import LanguagePart
from vidapt.hub._parts_read import refuse_misfit
from vidapt.hub._parts_tower import TOWERS, TowerPart
from vidapt.hub._quiet import first_line, quiet
from vidapt.parts import refuse_endless

_GGUF = ".gguf"


PublishedPart = TowerPart | ConvnextPart | LanguagePart


def published_part(folder: Path) -> PublishedPart:
    """The part that a folder holds.

    Args:
        folder: With a `config.json`, or with one GGUF file; or that file.

    Raises:
        CheckpointError: If it holds no such part, several GGUF files, or its configuration is damaged,
            or describes more than the weights beside it.
        ConfigError: If a library that GGUF files need is absent.
    """
    if folder.is_file():
        return _of_gguf(folder)
    timm = convnext_part(folder)
    if timm is not None:
        return timm
    if not (folder / "config.json").is_file():
        return _of_gguf(_only_gguf(folder))
    config = _config(folder)
    if config.model_type in TOWERS:
        tower = TowerPart(folder, config)
        refuse_misfit(tower.kind, folder, tower.vision)
        return tower
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and config.get_text_config() is config:
        refuse_misfit(AutoModelForCausalLM, folder, config)
        return LanguagePart(folder, config)
    raise CheckpointError(
        folder / "config.json",
        f"model_type is {config.model_type!r}, which is no part that can be taken",
        f"known: CLIP, Long-CLIP, CLIP-ViP, {', '.join(TOWERS)}, causal language models, and whole models",
    )


def holds_part(folder: Path) -> bool:
    """Whether a folder looks like one of a part: it has a configuration or a GGUF file."""
    configured = any((folder / name).is_file() for name in ("config.json", "open_clip_config.json"))
    return configured or any(folder.glob(f"*{_GGUF}"))


def _of_gguf(file: Path) -> LanguagePart:
    return LanguagePart(file.parent, _config(file.parent, gguf_file=file.name), file.name)


def _only_gguf(folder: Path) -> Path:
    files = sorted(folder.glob(f"*{_GGUF}"))
    if len(files) != 1:
        raise CheckpointError(
            folder, f"has no config.json and {len(files)} GGUF files", "give the one file itself"
        )
    return files[0]


def _config(folder: Path, **options: Any) -> Any:
    if not options:
        refuse_endless(read_json(folder / "config.json"), str(folder / "config.json"))
    try:
        with quiet():
            return AutoConfig.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False, **options
            )
    except ImportError as error:
        raise ConfigError(folder, "GGUF files are read by `gguf`", "pip install 'vidapt[gguf]'") from error
    except Exception as error:  # what damaged files raise is not documented, and of every kind
        raise CheckpointError(
            folder,
            f"its configuration cannot be read: {first_line(error)}",
            "models that bring code of their own are not opened; else fetch the folder again",
        ) from error
