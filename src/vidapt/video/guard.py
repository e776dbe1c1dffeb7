"""Whatever goes wrong while one clip is read is that clip's fault, and costs no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vidapt.errors import BrokenClip, VidaptError


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn every error that is not told in plain words already into `BrokenClip`.

    Footage is untrusted, and the libraries that read it raise what they like: no list of their errors is
    ever complete. Ctrl-C and the like pass.

    Raises:
        BrokenClip: If anything but a `VidaptError` is raised inside.
    """
    try:
        yield
    except VidaptError:
        raise
    except MemoryError as error:
        raise BrokenClip(path, "decoding it takes more memory than allowed") from error
    except Exception as error:
        raise BrokenClip(path, f"its decoder failed ({type(error).__name__}: {error})") from error
