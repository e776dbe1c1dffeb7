"""Open and export a model by its name or path, and compose a new one from parts of others.

Importing this imports no torch; `vidapt.loading.compose` does.
"""

from vidapt.loading._exported import export_gguf_model, export_model, export_side_by_side
from vidapt.loading._opened import (
    number_format,
    open_model,
    outline_model,
    usable_device,
)
from vidapt.loading._places import ADAPTER, BLUEPRINT, DUAL, RUN, compares, locate, locate_dual, shipped

__all__ = [
    "ADAPTER",
    "BLUEPRINT",
    "DUAL",
    "RUN",
    "compares",
    "export_gguf_model",
    "export_model",
    "export_side_by_side",
    "locate",
    "locate_dual",
    "number_format",
    "open_model",
    "outline_model",
    "shipped",
    "usable_device",
]
