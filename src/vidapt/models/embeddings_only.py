"""Models whose language model can stand elsewhere: all that it is told are embeddings in a row."""

from __future__ import annotations

from vidapt.errors import ConfigError
from vidapt.models.pruning import prune_of
from vidapt.models.reach import most_frames
from vidapt.models.video_lm import VideoLM


def refuse_more_than_embeddings(model: VideoLM, where: str) -> None:
    """Refuse models of which a server would not be told all that enters the language model.

    Args:
        model: The model.
        where: What asks for it.

    Raises:
        ConfigError: If something enters deeper down, or positions have several axes, are not whole, or some
            are left out.
    """
    remedy = "use the built-in engine, or export the model and serve that"
    if model.depths:
        raise ConfigError(
            "--engine", "the clip also enters deeper layers, which a server is not sent", remedy
        )
    if model.positions.axes > 1:
        raise ConfigError(where, "positions have rows and columns, which a server is not sent", remedy)
    if model.positions.ids([2])[1] != 2:
        raise ConfigError(where, "positions are scaled, which a server does by its own rule", remedy)
    frames = most_frames(model.blueprint.frames)
    if prune_of(model.resolution_for(frames, 1), frames) is not None:
        raise ConfigError(where, "positions are left out, which a server is not told", remedy)
