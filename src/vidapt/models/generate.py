"""Answers from a VideoLM: a prefix is read once for its questions, and rows of any length share a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from vidapt.errors import BudgetError, ConfigError
from vidapt.models.packed import Group, numbered, prefix_layout
from vidapt.models.reach import REMEDY, reach_of, room, sequence
from vidapt.models.row_cache import row_cache, select_rows
from vidapt.models.sampling import Allowed, ByEntropy, Cooling, Heat, draw, scaled, temperatures
from vidapt.models.text import Encoded
from vidapt.models.video_lm import VideoLM

Told = Callable[[int, int], bool]
"""Is told every token that is written: the number of its answer, counted through all groups, and the id.
Says whether the answer is still wanted; one that is not ends there."""


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen.

    Attributes:
        max_new_tokens: Longest answer.
        temperature: 0 is greedy; otherwise logits are divided by it and sampled.
        top_p: Sample only from the likeliest tokens that together have this probability (Holtzman et
            al., 2020, "The Curious Case of Neural Text Degeneration").
        seed: Of the sampling.
        min_p: Sample only from tokens that are at least so likely, as a share of the likeliest.
        top_h: Sample only from the likeliest tokens that make up this share of the entropy.
        heat: What makes the temperature move from token to token; None leaves it as it is.

    Raises:
        ConfigError: If a number makes no sense.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    min_p: float = 0.0
    top_h: float = 1.0
    heat: Heat | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(
                "max_new_tokens", f"an answer of {self.max_new_tokens} tokens", "give 1 or more"
            )
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(
                "temperature", f"{self.temperature} is no temperature", "give 0 (greedy) or more"
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError(
                "top_p", f"{self.top_p} is no probability to keep", "give a number above 0, up to 1"
            )
        if not 0 <= self.min_p <= 1:
            raise ConfigError("min_p", f"{self.min_p} is no share", "give a number from 0 (all) to 1")
        if not 0 < self.top_h <= 1:
            raise ConfigError(
                "top_h", f"{self.top_h} is no share of an entropy", "give a number above 0, up to 1 (all)"
            )
        if isinstance(self.heat, ByEntropy) and not self.temperature:
            raise ConfigError("temperature", "is 0, which entropy cannot make warmer", "give one above 0")

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0 and not (isinstance(self.heat, Cooling) and self.heat.first > 0)

    @property
    def settings(self) -> dict[str, Any]:
        """What the answers depend on, as JSON holds it; what decoding does not read is left out."""
        if self.greedy:
            return {"max_new_tokens": self.max_new_tokens}
        always = {"max_new_tokens", "temperature", "top_p", "seed"}
        told = asdict(self) | {"heat": self.heat and self.heat.model_dump()}
        own = {name: told[name] for name in told if name in always or told[name] != getattr(Decoding, name)}
        return own


@dataclass(frozen=True)
class Answer:
    """An answer as it was chosen.

    Attributes:
        ids: Its tokens without the end mark.
        ended: Whether it ended by itself.
        logprob: Mean natural logarithm of the probabilities that the model gave the tokens, the end mark
            among them, before any temperature. Its last digits depend on what else is in the batch.
    """

    ids: tuple[int, ...]
    ended: bool
    logprob: float = field(default=0.0, compare=False)


@dataclass
class _Rows:
    """B rows being read and written, in columns that all of them share; shorter rows are padded in front.

    Attributes:
        cache: Keys and values, or states, of the columns read so far.
        mask: [B, L] long, 1 where a column is real; it reaches beyond what has been read.
        places: [axes, B, L] positions of the same columns.
        done: How many columns have been read.
    """

    cache: Any
    mask: Tensor
    places: Tensor
    done: int = 0

    def keep(self, index: Tensor) -> None:
        """Keep (or repeat) rows by index."""
        if self.done:
            select_rows(self.cache, index)
        self.mask, self.places = self.mask[index], self.places[:, index]

    def append(self, mask: Tensor, places: Tensor) -> None:
        """Describe further columns."""
        self.mask = torch.cat([self.mask, mask.to(self.mask)], dim=1)
        self.places = torch.cat([self.places, places.to(self.places)], dim=2)


@torch.inference_mode()
def generate(
    model: VideoLM,
    groups: Sequence[Group],
    visual: Sequence[Tensor | None],
    stops: Sequence[int],
    decoding: Decoding,
    seeds: Sequence[int] | None = None,
    times: Sequence[int] | None = None,
    told: Told | None = None,
) -> list[list[Answer]]:
    """Answer every question of every group.

    An answer depends on its own group, question and seed, not on what else is asked at the same time. It ends
    at the latest where the language model's positions do. A question that is answered several times is read
    once, as its prefix is.

    Args:
        model: In evaluation mode.
        groups: Questions behind their prefixes; each encoded with an open answer.
        visual: [V, D] visual tokens of each group's clips, None without clips.
        stops: Token ids that end an answer.
        decoding: How tokens are chosen.
        seeds: Of each answer's sampling, group after group; None gives all of them `decoding.seed`.
        times: How often each question is answered, group after group; None is once.
        told: Is told every token as it is written, and may end an answer there.

    Returns:
        Per group, per question, its answer, or its answers one after the other.

    Raises:
        BudgetError: If a question behind its clips is longer than the language model reads.
    """
    texts = [encoded.ids for group in groups for encoded in group.encoded]
    if not texts:
        return [[] for _ in groups]
    owners = [index for index, group in enumerate(groups) for _ in group.encoded]
    most = [_room(model, group, encoded, decoding) for group in groups for encoded in group.encoded]
    rows, after = _read_prefixes(model, groups, visual)
    rows.keep(torch.tensor(owners, device=model.device))
    logits = _read_questions(model, rows, texts, [after[owner] for owner in owners], max(most))
    if times is not None and set(times) != {1}:
        again = [row for row, count in enumerate(times) for _ in range(count)]
        index = torch.tensor(again, device=model.device)
        rows.keep(index)
        logits, most, owners = logits[index], [most[row] for row in again], [owners[row] for row in again]
    chooser = _Chooser(decoding, seeds or [decoding.seed] * len(owners))
    found: list[list[Answer]] = [[] for _ in groups]
    for owner, answer in zip(owners, _decode(model, rows, logits, stops, chooser, most, told), strict=True):
        found[owner].append(answer)
    return found


def _room(model: VideoLM, group: Group, encoded: Encoded, decoding: Decoding) -> int:
    """How many tokens the answer to a question may have."""
    reach = reach_of(model)
    tokens, end = sequence(model.positions, encoded.prefix, group.clips, len(encoded.ids))
    if reason := reach.excess(tokens, end, packed=False):
        raise BudgetError("question", f"with what it is about it is {reason}", REMEDY)
    return room(model.positions, end, reach.positions, decoding.max_new_tokens)


def _read_prefixes(
    model: VideoLM, groups: Sequence[Group], visual: Sequence[Tensor | None]
) -> tuple[_Rows, list[float]]:
    """Read each group's prefix; also returns the position behind each."""
    layouts = [prefix_layout(group.encoded[0].prefix, group.clips) for group in groups]
    placed = [numbered(model.positions, spans) for _, _, spans in layouts]
    ids, mask = _right_aligned([ids for ids, _, _ in layouts])
    slots = torch.zeros_like(mask)
    places = placed[0][0].new_zeros(placed[0][0].shape[0], *ids.shape)
    for index, ((_, row_slots, _), (place, _)) in enumerate(zip(layouts, placed, strict=True)):
        start = ids.shape[1] - len(row_slots)
        slots[index, start:] = torch.tensor(row_slots, dtype=torch.long)
        places[:, index, start:] = place
    rows = _Rows(row_cache(model.language), mask.to(model.device), places.to(model.device))
    if ids.shape[1]:
        given = [v for v in visual if v is not None]
        tokens = torch.cat(given) if given else None
        marks = slots.bool().to(model.device)
        _forward(model, rows, model.entering(ids.to(model.device), marks, tokens))
    return rows, [after for _, after in placed]


def _read_questions(
    model: VideoLM, rows: _Rows, texts: Sequence[Sequence[int]], starts: Sequence[float], new: int
) -> Tensor:
    """Read a text per row, lay out `new` columns behind it, and return the [B, vocabulary] logits there."""
    ids, mask = _right_aligned(texts)
    b, length = ids.shape
    places = rows.places.new_zeros(rows.places.shape[0], b, length + new)
    for index, (text, start) in enumerate(zip(texts, starts, strict=True)):
        places[:, index, length - len(text) :] = model.positions.ids([len(text) + new], start=start)[0]
    rows.append(torch.cat([mask, mask.new_ones(b, new)], dim=1), places)
    words = model.language.get_input_embeddings()(ids.to(model.device))
    return model.head(_forward(model, rows, {"inputs_embeds": words}))


def _right_aligned(texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """[B, L] long ids padded in front, and 1 where they are real."""
    length = max(len(text) for text in texts)
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, text in enumerate(texts):
        ids[index, length - len(text) :] = torch.tensor(text, dtype=torch.long)
        mask[index, length - len(text) :] = 1
    return ids, mask


def _forward(model: VideoLM, rows: _Rows, entering: Mapping[str, Any]) -> Tensor:
    """Read the next columns, given as `VideoLM.entering` gives them; return the [B, D] state of the last."""
    end = rows.done + entering["inputs_embeds"].shape[1]
    places = rows.places[:, :, rows.done : end]
    states = model.language.base_model(
        **entering,
        attention_mask=rows.mask[:, :end],
        position_ids=places[0] if len(places) == 1 else places,
        past_key_values=rows.cache,
        use_cache=True,
    ).last_hidden_state
    rows.done = end
    last = states[:, -1]
    assert isinstance(last, Tensor)
    return last


def _decode(
    model: VideoLM,
    rows: _Rows,
    logits: Tensor,
    stops: Sequence[int],
    chooser: _Chooser,
    most: Sequence[int],
    told: Told | None = None,
) -> list[Answer]:
    """Token by token until each row has ended or has `most` tokens; finished rows leave the batch."""
    written: list[list[int]] = [[] for _ in range(len(logits))]
    ended = [False] * len(written)
    alive = list(range(len(written)))
    places, sums = torch.arange(len(written), device=logits.device), logits.new_zeros(len(written)).float()
    words = model.language.get_input_embeddings()
    while True:
        tokens = chooser(logits, alive)
        sums[places] += logits.float().log_softmax(-1).gather(1, tokens.unsqueeze(1)).squeeze(1)
        going = []
        for place, (row, token) in enumerate(zip(alive, tokens.tolist(), strict=True)):
            if token in stops:
                ended[row] = True
            else:
                written[row].append(token)
                wanted = told is None or told(row, token)
                if wanted and len(written[row]) < most[row]:
                    going.append(place)
        if not going:
            break
        if len(going) < len(alive):
            index = torch.tensor(going, device=model.device)
            rows.keep(index)
            tokens, places, alive = tokens[index], places[index], [alive[place] for place in going]
        logits = model.head(_forward(model, rows, {"inputs_embeds": words(tokens.unsqueeze(1))}))
    return [
        Answer(tuple(ids), end, total / (len(ids) + end))
        for ids, end, total in zip(written, ended, sums.tolist(), strict=True)
    ]


class _Chooser:
    """[B, vocabulary] logits to [B] tokens; every row draws from a stream of its own."""

    def __init__(self, decoding: Decoding, seeds: Sequence[int]) -> None:
        self._decoding, self._written = decoding, 0
        self._allowed = Allowed(decoding.top_p, decoding.min_p, decoding.top_h)
        self._streams = [] if decoding.greedy else [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, logits: Tensor, alive: Sequence[int]) -> Tensor:
        """Choose for the rows `alive`, all of which have had a token in every call so far."""
        if self._decoding.greedy:
            return logits.argmax(-1)
        wide = logits.double()
        heat = temperatures(wide, self._written, self._decoding.temperature, self._decoding.heat)
        self._written += 1
        return draw(self._allowed(scaled(wide, heat)), [self._streams[row] for row in alive])
