"""A video-language model as data: its parts, and how a conversation becomes text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from vidapt import parts
from vidapt.recipe.learning import LoRA
from vidapt.recipe.time_text import Scene, Times
from vidapt.strict import Strict
from vidapt.video.choose import Policy, Uniform

Spec = dict[str, Any]
"""A part: its `kind` and its own fields; in a recipe also whose `weights` it begins with, if any."""


class Prompt(Strict):
    """How a conversation becomes text.

    A sample reads `start`, then per user turn `user` and `opening`, then `answer`, `end`. In the user's
    text each media mark becomes `media` with the visual tokens in place of `{media}`. Where a conversation
    begins with a system turn of its own, `system` stands in the place of `start`, if the template has one.
    A `user` with `{media}` and no `{text}` shows the media alone (`plain` of LLaVA, Liu et al. 2023).
    `sighted` is how a user's turn that begins with a clip is written, where that is not like any other.
    `dropped` is not read where it stands behind a clip's mark, because what is read of the clip ends with it.

    Clips are read where their marks stand; under `compat: published` in front of the words of their turn, to
    which HiLight's code moves them.
    """

    start: str = ""
    system: str | None = None
    user: str = "{text}"
    sighted: str | None = None
    opening: str = ""
    answer: str = "{text}"
    end: str = "</s>"
    media: str = "{media}"
    dropped: str = ""
    compat: Literal["published"] | None = None


class Blueprint(Strict):
    """A model as data. Sizes flow from the part that owns them, so none is repeated here.

    In a recipe, towers, connector and language model may say whose `weights` they begin with (`Weights`);
    what a model's folder holds is written out, with no `weights` left in it.

    Attributes:
        towers: The vision tower, or two, where the connector reads two.
        connector: Tower features to visual tokens.
        language: A transformers configuration of a causal language model, with its `model_type`.
        resolution: Frames to views, and views to what is read.
        scenes: Other resolutions for a single still, for one of several stills in a conversation, and for
            clips of more than one frame. A still is a clip of one frame.
        positions: Position ids.
        times: What is written around clips of a scene and around their slices: marks, numbers, times. A
            text alone is written in front of every slice of footage; one mapping of texts is about footage.
        frames: Which frames of a clip are read.
        prompt: Conversation to text.
        adapters: Low-rank adapters of the language model that are part of the model.
        tower_adapters: The same of the towers.
    """

    towers: tuple[Spec, ...] = Field(min_length=1, max_length=2)
    connector: Spec
    language: Spec
    resolution: Spec = Field({"kind": "whole"})
    scenes: dict[Scene, Spec] = Field({})
    positions: Spec = Field({"kind": "rope1d"})
    times: Times = Field({})
    frames: Policy = Uniform(count=16)
    prompt: Prompt = Prompt()
    adapters: LoRA | None = None
    tower_adapters: LoRA | None = None

    def parts(self) -> Iterator[tuple[parts.Family, tuple[str | int, ...], Spec]]:
        """Every part with its family and its place in the blueprint."""
        for index, tower in enumerate(self.towers):
            yield "towers", ("towers", index), tower
        yield "connectors", ("connector",), self.connector
        yield "resolutions", ("resolution",), self.resolution
        for scene, resolution in self.scenes.items():
            yield "resolutions", ("scenes", scene), resolution
        yield "positions", ("positions",), self.positions
