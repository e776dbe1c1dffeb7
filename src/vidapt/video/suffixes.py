"""By which suffixes clips are found in folders; a file that is named itself may have any."""

from __future__ import annotations

VIDEO_SUFFIXES = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".dv", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
