"""Memory that ends, and how much of it is free."""

from __future__ import annotations

import gc
from pathlib import Path

import torch

_CPU_WORDS = ("DefaultCPUAllocator", "not enough memory")
"""What torch's RuntimeError says where a processor has no memory left; it has no class of its own."""

_AVAILABLE = "MemAvailable:"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether less work at a time may succeed."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_WORDS)


def release() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def free_bytes(device: torch.device) -> int | None:
    """Memory that can be had on a device without taking it from anybody; None where it is not told."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds and does not use is free for torch.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(_AVAILABLE)), None)
