"""What an existing model is to read of clips, where that is other than it was."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from vidapt.recipe.blueprint import Prompt, Spec
from vidapt.recipe.prune import Prune
from vidapt.recipe.time_text import Scene, Times
from vidapt.strict import Strict
from vidapt.video.choose import Policy


class Reads(Strict):
    """Changes of what a model reads of a clip: training gets it used to them.

    None of them has weights, but for the newline of some resolutions: one that the model has learned stays,
    and a new one begins at random. So a tower can be given finer views from stage to stage; InternVL, which
    numbers its frames, can be told their times; and Qwen3-VL can be given the marks that another version of a
    server writes.

    Attributes:
        frames: Which frames.
        times: What is written around clips and their slices; scenes that are not named stay as they are.
        positions: Position ids, of as many axes as the model has.
        resolution: How frames are cut.
        scenes: Other resolutions for stills and footage; scenes that are not named stay as they are.
        prompt: Conversation to text, where a stage before spoke otherwise.
        prune: Which visual tokens of footage are left out, by whatever resolution cuts it.
    """

    frames: Policy | None = None
    times: Times = {}  # noqa: RUF012 - pydantic copies it
    positions: dict[str, Any] | None = None
    resolution: Spec | None = None
    scenes: dict[Scene, Spec] | None = None
    prompt: Prompt | None = None
    prune: Prune | None = None

    @model_validator(mode="after")
    def _something(self) -> Reads:
        if not self.model_fields_set:
            raise ValueError("`reads` changes nothing; leave it out, or say what is to be read otherwise")
        return self
