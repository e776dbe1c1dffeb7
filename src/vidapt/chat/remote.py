"""What a user writes about a model behind a server that is to look at clips."""

from __future__ import annotations

from pathlib import Path
from string import Template

from pydantic import Field, field_validator

from vidapt.chat.asked import Speaker
from vidapt.chat.secrets import refuse_keys
from vidapt.chat.settings import Budget, Endpoint
from vidapt.digests import digest
from vidapt.errors import ConfigError
from vidapt.strict import Strict
from vidapt.yaml_lines import parse_yaml, validated

SUFFIXES = frozenset({".yaml", ".yml"})


class Shown(Strict):
    """What of a clip is sent.

    Attributes:
        count: Frames, in the middle of as many equal stretches.
        side: Longest side in pixels; smaller frames stay as they are.
        quality: Of the JPEG, 1 to 95.
    """

    count: int = Field(8, ge=1, le=1024)
    side: int = Field(512, ge=32, le=4096)
    quality: int = Field(85, ge=1, le=95)


class Remote(Strict):
    """A model behind a server, as a file describes it.

    Attributes:
        endpoint: Where it is, and how it is asked.
        frames: What is sent of a clip.
        prompt: What is asked; `$question` is the question.
        budget: Where it stops.
        give_up: Questions in a row that come to nothing before all ends.
    """

    endpoint: Endpoint
    frames: Shown = Shown()
    prompt: str = Field("$question", max_length=20_000)
    budget: Budget = Budget()
    give_up: int = Field(8, ge=1, le=1000)

    def fingerprint(self, speaker: Speaker) -> str:
        """Hash of the model by its name, what it is shown and in which words it is asked."""
        return digest([speaker.identity, self.frames.model_dump(), self.prompt], 24)

    @field_validator("prompt")
    @classmethod
    def _with_the_question(cls, text: str) -> str:
        template = Template(text)
        if not template.is_valid() or template.get_identifiers() != ["question"]:
            raise ValueError("has to hold `$question`, and no other name; write `$$` for a dollar")
        return text


def is_remote(name: str | Path) -> bool:
    """Whether a name is that of a file about a server, and not of a model."""
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and path.is_file()


def read_remote(path: Path) -> Remote:
    """Read what a file says of a server.

    Raises:
        ConfigError: Naming every mistake with its line; or where a key may stand, which is not shown.
    """
    data, lines = parse_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(path, "describes no server", "write `endpoint: {url: ..., model: ...}`")
    refuse_keys(path, data, lines)
    remote = validated(Remote, data, path, lines)
    if remote.budget.money is not None and remote.endpoint.price is None:
        raise ConfigError(path, "`budget.money` needs `endpoint.price`", "say what a million tokens cost")
    return remote
