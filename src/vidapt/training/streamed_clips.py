"""Clips of labels that are read row by row, each made ready when a step comes to it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from vidapt.errors import ConfigError, FormatError
from vidapt.formats import Placement
from vidapt.models.text import Encoded
from vidapt.nouns import Sample
from vidapt.recipe import Prompt
from vidapt.training.data import ClipSamples, learnable, stretches
from vidapt.training.encodings import Encodings, Remembering
from vidapt.training.sightings import ChangedError
from vidapt.training.streamed import Groups, Streamed

_KEPT = 2048
"""Clips whose samples are kept as ids: a step's clips are asked for several times, by whoever works ahead."""

_Pair = tuple[Sample, Encoded]


class StreamedClips(Sequence[ClipSamples]):
    """Clips of labels that are read row by row; see `data.ClipSamples`.

    A row that turns out to be unsound is left out and written down. It is so at every visit, so that a
    resumed run sees the same.

    Args:
        streamed: The labels.
        groups: Their rows by clips.
        prompt: The model's template.
        tokenizer: A transformers tokenizer.
        max_answer_tokens: Longer answers are left out.
        apart: Take conversations about one clip apart.
        placement: Where several clips of a conversation are read.
        too_long: Indices of a clip's samples that cannot be read, each with the reason.
    """

    def __init__(
        self,
        streamed: Streamed,
        groups: Groups,
        prompt: Prompt,
        tokenizer: Any,
        max_answer_tokens: int,
        *,
        apart: bool,
        placement: Placement,
        too_long: Callable[[ClipSamples], list[tuple[int, str]]],
    ) -> None:
        self.streamed, self.groups = streamed, groups
        self._prompt, self._tokenizer, self._most = prompt, Remembering(tokenizer), max_answer_tokens
        self._apart, self._placement, self._too_long = apart, placement, too_long
        self._made: OrderedDict[int, ClipSamples] = OrderedDict()

    def __len__(self) -> int:
        return len(self.groups.starts) - 1

    @overload
    def __getitem__(self, index: int) -> ClipSamples: ...

    @overload
    def __getitem__(self, index: slice) -> list[ClipSamples]: ...

    def __getitem__(self, index: int | slice) -> ClipSamples | list[ClipSamples]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        if place not in self._made:
            self._made[place] = self._clip(place)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return self._made[place]

    def __iter__(self) -> Iterator[ClipSamples]:
        return (self[index] for index in range(len(self)))

    def _clip(self, place: int) -> ClipSamples:
        first, end = self.groups.starts[place : place + 2]
        found: list[_Pair] = []
        for row in map(int, self.groups.rows[first:end]):
            try:
                found += self._learnable(row)
            except ChangedError:
                raise
            except (FormatError, ConfigError) as error:
                self.streamed.set_aside(self.streamed.where(row), error.found)
        alike = [pair for pair in found if _beginning(pair) == _beginning(found[0])]
        for sample, _ in found if len(alike) < len(found) else ():
            if not any(sample is one for one, _ in alike):
                self.streamed.set_aside(
                    sample.source, "its clip or what is read before it is not that of its group"
                )
        return self._readable(_together(alike, int(self.groups.sources[place])))

    def _learnable(self, row: int) -> list[_Pair]:
        sample = self.streamed.sample(row)
        found = learnable(
            sample, self._prompt, self._tokenizer, self._most, apart=self._apart, placement=self._placement
        )
        return list(found)

    def _readable(self, clip: ClipSamples) -> ClipSamples:
        """A clip without samples that are longer than the language model reads."""
        long = dict(self._too_long(clip))
        for at, reason in long.items():
            self.streamed.set_aside(clip.samples[at].source, f"would be {reason}")
        if not long:
            return clip
        pairs = zip(clip.samples, clip.encoded, strict=True)
        return _together([pair for at, pair in enumerate(pairs) if at not in long], clip.source)


def _together(pairs: Sequence[_Pair], source: int) -> ClipSamples:
    """Samples with one beginning."""
    if not pairs:
        return ClipSamples((), (), (), source)
    encodings = Encodings(pairs[0][1].prefix, pairs[0][1].early)
    for _, encoded in pairs:
        encodings.append(encoded)
    return ClipSamples(pairs[0][0].media, tuple(sample for sample, _ in pairs), encodings, source)


def _beginning(pair: _Pair) -> Any:
    return stretches(pair[0]), pair[1].prefix, pair[1].early
