"""Many replies to one question about one clip: how they are drawn, and what each is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

from pydantic import Field, StringConstraints

from vidapt.errors import ConfigError
from vidapt.models.decoding import Decoding
from vidapt.models.sampling import ByEntropy, Cooling
from vidapt.nouns import MEDIA
from vidapt.strict import Strict
from vidapt.yaml_lines import parse_yaml, validated

MOST = 64
"""Replies to one question; each is a row of the batch, with a copy of what was read."""

TEXT, PROMPT = "$text", "$prompt"
_Prompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]


class Cues(Strict):
    """Captions of like clips of other sources, as examples of style.

    Attributes:
        labels: Label file with captions; from the file's own folder, if it is no whole path.
        format: Its format; None tells it from the content.
        by: What clips are taken from, as `vidapt data split --by` has it: a clip's cues come from others.
        clips: Most clips of the labels that are looked at, drawn by the seed.
        longest: Letters of a caption; what is longer is no cue.
        words: What stands before the question: `$text` is the caption, `$prompt` the question.
    """

    labels: Path
    format: str | None = None
    by: str | None = None
    clips: int = Field(256, ge=2, le=100_000)
    longest: int = Field(500, ge=1, le=100_000)
    words: _Prompt = (
        "An example of how another video was described, for its style alone; nothing in it is true of this "
        'one: "$text"\n$prompt'
    )


class Diversity(Strict):
    """How several replies to one question come to differ.

    Attributes:
        temperature: Of the sampling; 0 draws nothing. With `cooling` it is where the temperature ends, with
            `entropy` the highest.
        top_p: See `Decoding`.
        min_p: See `Decoding`.
        top_h: See `Decoding`.
        cooling: Warm first tokens.
        entropy: Warm where the model is not sure.
        facets: What is asked in place of the prompt, in turn: one reply about the ball, the next about the
            player.
        cues: Captions of like clips as examples of style, another one for each reply.
        seed: Of the sampling.
    """

    temperature: float = Field(0.5, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    top_h: float = Field(1.0, gt=0, le=1)
    cooling: Cooling | None = None
    entropy: ByEntropy | None = None
    facets: tuple[_Prompt, ...] = Field((), max_length=MOST)
    cues: Cues | None = None
    seed: int = Field(0, ge=0, lt=2**31)

    def decoding(self, max_new_tokens: int) -> Decoding:
        """How tokens are chosen.

        Raises:
            ConfigError: If these ways do not go together.
        """
        if self.cooling is not None and self.entropy is not None:
            raise ConfigError("diversity", "`cooling` and `entropy` both move the temperature", "give one")
        return Decoding(
            max_new_tokens,
            self.temperature,
            self.top_p,
            self.seed,
            self.min_p,
            self.top_h,
            self.cooling or self.entropy,
        )

    def check(self, n: int) -> None:
        """Refuse a number of replies that cannot be, or that would be the same again.

        Raises:
            ConfigError: If so.
        """
        if not 1 <= n <= MOST:
            raise ConfigError("n", f"{n} replies", f"give 1 to {MOST}")
        for facet in self.facets:
            if MEDIA in facet:
                raise ConfigError("facets", f"{facet!r} holds the mark {MEDIA}", "leave it out")
        if len(set(self.facets)) < len(self.facets):
            raise ConfigError("facets", "one is given twice", "give each once")
        if self.cues is not None and not (TEXT in self.cues.words and PROMPT in self.cues.words):
            raise ConfigError("cues.words", f"lacks {TEXT} or {PROMPT}", "say where they go")
        if self.decoding(1).greedy and self.cues is None and n > max(1, len(self.facets)):
            raise ConfigError(
                "diversity",
                f"at temperature 0, {n} replies to {max(1, len(self.facets))} question(s) repeat themselves",
                "give a temperature above 0, or more facets",
            )

    def asked(self, prompt: str, n: int) -> list[str]:
        """What each of n replies is asked, cues apart."""
        return [self.facets[at % len(self.facets)] if self.facets else prompt for at in range(n)]


PLAIN = "plain"
WAYS: Mapping[str, Diversity] = MappingProxyType(
    {
        PLAIN: Diversity(),
        "cooling": Diversity(temperature=0.3, cooling=Cooling()),
        "entropy": Diversity(entropy=ByEntropy()),
        "min-p": Diversity(min_p=0.1),
        "top-h": Diversity(temperature=1.0, top_h=0.4),
    }
)
"""Ways that have a name; no warmer than the best plain sampling of `docs/studies/measure.md`."""


def diversity_of(told: str | Path | Diversity) -> Diversity:
    """Read what a user gives: the name of a way, or a YAML file.

    Raises:
        ConfigError: Naming every mistake with its line, if it is neither.
    """
    if isinstance(told, Diversity):
        return told
    if str(told) in WAYS:
        return WAYS[str(told)]
    path = Path(told)
    if not path.is_file():
        raise ConfigError(
            "diversity", f"{str(told)!r} is neither a way nor a file", f"give {', '.join(WAYS)}, or FILE.yaml"
        )
    data, lines = parse_yaml(path)
    if not isinstance(data, dict):
        raise ConfigError(path, "describes no diversity", "write `temperature: 0.8`, for one")
    found = validated(Diversity, data, path, lines)
    if found.cues is None:
        return found
    own = found.cues.model_copy(update={"labels": path.parent / found.cues.labels})
    return found.model_copy(update={"cues": own})
