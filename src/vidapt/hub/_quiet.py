"""What transformers says at length, kept short."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import StrictDataclassError
from transformers.utils import logging as their_logging


@contextmanager
def quiet(logger: str = "transformers") -> Iterator[None]:
    """While transformers reads: it remarks on what is checked here, and draws bars of its own.

    Args:
        logger: Whose remarks are left out; errors are not.
    """
    speaker = logging.getLogger(logger)
    level, bars = speaker.level, their_logging.is_progress_bar_enabled()
    speaker.setLevel(logging.ERROR)
    their_logging.disable_progress_bar()
    try:
        yield
    finally:
        speaker.setLevel(level)
        if bars:
            their_logging.enable_progress_bar()


def first_line(error: Exception) -> str:
    """The first line of what an error explains; a field's error stands in its second."""
    if isinstance(error, StrictDataclassError):
        return " ".join(str(error).split())
    return str(error).strip().partition("\n")[0] or type(error).__name__
