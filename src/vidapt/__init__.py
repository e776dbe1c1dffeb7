"""vidapt: adapt a video-language model to your own footage.

>>> import vidapt
>>> model = vidapt.load("billiards-home")            # doctest: +SKIP
>>> model.caption("match.mp4")                       # doctest: +SKIP
>>> model.ask("match.mp4", "Which ball was pocketed?")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vidapt.version import VERSION

__version__ = VERSION
__all__ = ["__version__", "load"]

if TYPE_CHECKING:
    from vidapt.inference.load import load


def __getattr__(name: str) -> Any:
    # Loading a model needs torch; importing the package must not.
    if name == "load":
        from vidapt.inference.load import load

        return load
    raise AttributeError(f"module 'vidapt' has no attribute {name!r}")
