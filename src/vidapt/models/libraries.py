"""Libraries that say things as they are imported."""

from __future__ import annotations

import importlib
import logging
from types import ModuleType

_TALKS = "bitsandbytes"


def load_quietly(name: str) -> ModuleType:
    """Import a library, without what bitsandbytes says meanwhile of kernels that could be installed.

    Args:
        name: bitsandbytes, or one that imports it, as peft does.

    Raises:
        ImportError: If it is not installed.
    """
    speaker = logging.getLogger(_TALKS)
    level = speaker.level
    speaker.setLevel(logging.ERROR)
    try:
        return importlib.import_module(name)
    finally:
        speaker.setLevel(level)
