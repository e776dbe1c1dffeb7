"""A question put to several voices: each teacher, as often as it is sampled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from vidapt.chat.asked import Asked, Failed, Picture, Said, Stop, Tally
from vidapt.chat.desk import Asking
from vidapt.json_replies import Shape, UnreadableError, parsed, schema_of
from vidapt.teaching.footage import Footage
from vidapt.teaching.settings import Labelling
from vidapt.teaching.wording import filled

_S = TypeVar("_S", bound=Shape)
_T = TypeVar("_T")
_QUOTED = 4000
"""Letters of an unreadable answer that its author is shown."""


@dataclass
class Voices:
    """Who speaks about one clip.

    Attributes:
        recipe: The settings.
        desk: Where questions are handed in.
        tally: What was asked.
    """

    recipe: Labelling
    desk: Asking
    tally: Tally = field(default_factory=Tally)

    @property
    def all(self) -> list[tuple[int, int]]:
        """Of every voice the number of its teacher and its seed."""
        first = self.recipe.decoding.seed
        return [
            (number, first + sample)
            for number in range(len(self.desk.speakers))
            for sample in range(self.recipe.samples)
        ]

    def name(self, number: int) -> str:
        """A teacher's."""
        return self.desk.speakers[number].name

    async def say(
        self, step: str, template: str, values: Mapping[str, object], footage: Footage
    ) -> list[Said]:
        """Let all voices say something of a clip, in plain text.

        Raises:
            Failed: If one says nothing.
        """
        prompt = filled(template, values)
        asked = [self._about(prompt, footage, footage.pictures, seed, None) for _, seed in self.all]
        numbers = [number for number, _ in self.all]
        return await together(
            self._in_words(number, one, step) for number, one in zip(numbers, asked, strict=True)
        )

    async def state(
        self,
        step: str,
        template: str,
        values: Mapping[str, object],
        footage: Footage,
        pictures: tuple[Picture, ...],
        shape: type[_S],
    ) -> list[_S]:
        """Let all voices state something of some pictures, in JSON.

        Raises:
            Failed: If one gives no answer that can be read, although it was asked again.
        """
        schema = schema_of(shape)
        prompt = filled(template, {**values, "schema": schema})
        asked = [self._about(prompt, footage, pictures, seed, schema) for _, seed in self.all]
        numbers = [number for number, _ in self.all]
        return await together(
            self._in_json(number, one, step, shape) for number, one in zip(numbers, asked, strict=True)
        )

    async def write(
        self,
        step: str,
        template: str,
        values: Mapping[str, object],
        shape: type[_S],
        check: Callable[[_S], str | None],
    ) -> _S:
        """Let the first teacher write something that needs no pictures, greedily.

        Args:
            step: Its name.
            template: Its words.
            values: What is filled in.
            shape: What it is to be.
            check: Says what else is wrong with an answer; None if nothing is.

        Raises:
            Failed: If no answer can be read, although it was asked again.
        """
        schema = schema_of(shape)
        prompt = filled(template, {**values, "schema": schema})
        asked = Asked(prompt, schema=schema, max_tokens=self.recipe.decoding.max_tokens)
        return await self._in_json(0, asked, step, shape, check)

    def _about(
        self,
        prompt: str,
        footage: Footage,
        pictures: tuple[Picture, ...],
        seed: int,
        schema: dict[str, object] | None,
    ) -> Asked:
        how = self.recipe.decoding
        look = footage.look
        return Asked(
            prompt,
            pictures,
            look.clip,
            look.content,
            schema,
            how.temperature,
            how.top_p,
            how.max_tokens,
            seed,
        )

    async def _in_words(self, number: int, asked: Asked, step: str) -> Said:
        said = await self.desk.ask(number, asked, step, self.tally)
        if not said.text.strip():
            again = self._repaired(asked, "it is empty", said.text)
            said = await self.desk.ask(number, again, f"{step} again", self.tally)
        if not said.text.strip():
            raise Failed(self.name(number), "it says nothing, although it was asked twice")
        return said

    async def _in_json(
        self,
        number: int,
        asked: Asked,
        step: str,
        shape: type[_S],
        check: Callable[[_S], str | None] | None = None,
    ) -> _S:
        said = await self.desk.ask(number, asked, step, self.tally)
        try:
            return _read(said, shape, check)
        except UnreadableError as error:
            again = self._repaired(asked, str(error), said.text)
        said = await self.desk.ask(number, again, f"{step} again", self.tally)
        try:
            return _read(said, shape, check)
        except UnreadableError as error:
            told = f"{step}: its answer cannot be used, although it was asked twice: {error}"
            raise Failed(self.name(number), told) from None

    def _repaired(self, asked: Asked, error: str, answer: str) -> Asked:
        values = {"prompt": asked.prompt, "error": error, "answer": answer[:_QUOTED]}
        return replace(asked, prompt=filled(self.recipe.prompts.repair, values))


def _read(said: Said, shape: type[_S], check: Callable[[_S], str | None] | None) -> _S:
    try:
        found = parsed(said.text, shape)
    except UnreadableError as error:
        if said.cut_off:
            raise UnreadableError(
                f"it was cut off by the limit of its length ({error}); be shorter"
            ) from None
        raise
    if check is not None and (wrong := check(found)):
        raise UnreadableError(wrong)
    return found


async def together(work: Iterable[Awaitable[_T]]) -> list[_T]:
    """Results of all, once all have ended.

    Raises:
        Stop: If one of them was told to.
        Exception: The first that any of them raised.
    """
    found = await asyncio.gather(*work, return_exceptions=True)
    errors = [one for one in found if isinstance(one, BaseException)]
    for error in sorted(errors, key=lambda one: not isinstance(one, Stop)):
        raise error
    return cast("list[_T]", found)
