"""`vidapt look`: what a model attends to, laid over the frames, with a number for its noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vidapt.measure.look.area import Area, area_of
from vidapt.measure.look.draw import Panel, film, grid, laid_over, overlay, sized, stretched
from vidapt.measure.look.noise import Localisation, Noise, entropy, localisation, noise
from vidapt.measure.look.opened import open_seeing
from vidapt.measure.look.see import ALL, Looked, Wanted, look_at, look_at_frames
from vidapt.measure.look.write import check_ending, write_film

__all__ = [
    "ALL",
    "Area",
    "Localisation",
    "Looked",
    "Noise",
    "Panel",
    "Wanted",
    "area_of",
    "entropy",
    "film",
    "grid",
    "laid_over",
    "localisation",
    "look",
    "look_at",
    "look_at_frames",
    "noise",
    "overlay",
    "sized",
    "stretched",
    "write_film",
]


def look(
    clip: Path, out: Path, models: Sequence[str], wanted: Wanted | None = None, *, device: str = "cpu"
) -> list[Looked]:
    """Draw what models attend to in a clip, side by side.

    Args:
        clip: A video, a picture or a folder of pictures.
        out: Ends in `.gif`, `.mp4` or `.png`.
        models: At least one; see `open_seeing`.
        wanted: Which map; None is the default of each model.
        device: Where the models run.

    Raises:
        VidaptError: If the clip, a model, the map or the file's name cannot be used.
    """
    check_ending(out)
    looked = []
    for name in models:
        model, tokenizer = open_seeing(name, device)
        looked.append(look_at(clip, model, tokenizer, name, wanted))
    write_film(out, film([one.panel() for one in looked]), looked[0].times_s)
    return looked
