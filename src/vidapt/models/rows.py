"""Rows being written: columns that all of them share, and how one more is read.

Letters: B rows, L columns, D the language model's width. Shorter rows are padded in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vidapt.models.cascade import Cascade, Shared
from vidapt.models.rotary import each_by_itself
from vidapt.models.row_cache import regroup_rows, regroup_shared, select_rows, share_rows
from vidapt.models.video_lm import VideoLM


@dataclass
class Rows:
    """B rows of which L columns have been read.

    Attributes:
        cache: Keys and values, or states, of these columns.
        mask: [B, L] long, 1 where a column is real.
        ahead: [axes, B, M] positions of the columns that each row is to have next.
        taken: [B] long, how many of these it has.
        shared: Which prefix each row stands behind; its columns are not among the L. None where rows hold all
            of their own.
    """

    cache: Any
    mask: Tensor
    ahead: Tensor
    taken: Tensor
    shared: Shared | None = None

    def keep(self, index: Tensor) -> None:
        """Keep (or repeat) rows by index."""
        if self.mask.shape[1]:
            select_rows(self.cache, index)
        self._pick(index)

    def regroup(self, index: Tensor, others: Rows | None = None) -> None:
        """Keep rows by index, put others behind them, and drop columns that are padding in all."""
        self._pick(index)
        masks = [self.mask] if others is None else [self.mask, others.mask]
        columns = max(_width(mask) for mask in masks)
        regroup_rows(self.cache, index, None if others is None else others.cache, columns)
        self.mask = torch.cat([_fitted(mask, columns) for mask in masks])
        if others is not None:
            most = max(self.ahead.shape[2], others.ahead.shape[2])
            kind = torch.promote_types(self.ahead.dtype, others.ahead.dtype)
            both = [_lengthened(one, most).to(kind) for one in (self.ahead, others.ahead)]
            self.ahead = torch.cat(both, dim=1)
            self.taken = torch.cat([self.taken, others.taken])
        if self.shared is not None:
            self._regroup_shared(self.shared, others)

    def _regroup_shared(self, mine: Shared, others: Rows | None) -> None:
        """Keep prefixes that rows stand behind, and put those of others after them."""
        theirs = None if others is None else others.shared
        both = [mine] if theirs is None else [mine, theirs]
        columns = max(one.width for one in both)
        cache, used = (None, None) if others is None or theirs is None else (others.cache, theirs.used)
        regroup_shared(self.cache, mine.used, cache, used, columns)
        owners, at = [], 0
        for one in both:
            owners.append(torch.searchsorted(one.used, one.owner) + at)
            at += len(one.used)
        masks = [_fitted(one.mask[one.used], columns) for one in both]
        self.shared = Shared(torch.cat(masks), torch.cat(owners))

    def share(self) -> None:
        """Let the rows be prefixes, behind each of which one row begins."""
        share_rows(self.cache)
        owner = torch.arange(len(self.mask), device=self.mask.device)
        self.shared = Shared(self.mask.bool(), owner)
        self.mask = self.mask[:, :0]

    def _pick(self, index: Tensor) -> None:
        self.mask, self.ahead, self.taken = self.mask[index], self.ahead[:, index], self.taken[index]
        self.shared = None if self.shared is None else self.shared.of(index)

    def step(self, model: VideoLM, tokens: Tensor) -> Tensor:
        """Read a token of every row.

        Args:
            model: The model.
            tokens: [B] ids.

        Returns:
            [B, vocabulary] logits of what comes next.
        """
        at = self.taken.clamp(max=self.ahead.shape[2] - 1)  # rows that have ended go beyond
        places = self.ahead.gather(2, at[None, :, None].expand(len(self.ahead), -1, 1))
        self.taken = self.taken + 1
        words = model.language.get_input_embeddings()(tokens.unsqueeze(1))
        real = self.mask.new_ones(len(tokens), 1)
        return model.head(self.read(model, {"inputs_embeds": words}, real, places))

    def read(
        self,
        model: VideoLM,
        entering: Mapping[str, Any],
        real: Tensor,
        places: Tensor,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Read the next columns.

        Args:
            model: The model.
            entering: As `VideoLM.entering` gives them, of n columns.
            real: [B, n], 1 where a column is no padding.
            places: [axes, B, n] positions.
            lengths: [B] as `rotary.each_by_itself` takes them.

        Returns:
            [B, D] state of the last column.
        """
        self.mask = torch.cat([self.mask, real.to(self.mask)], dim=1)
        layout = {} if self.shared is None else {"layout": Cascade(self.shared, self.cache)}
        with each_by_itself(model.varying, lengths):
            states = model.language.base_model(
                **entering,
                **layout,
                attention_mask=self.mask,
                position_ids=places[0] if len(places) == 1 else places,
                past_key_values=self.cache,
                use_cache=True,
            ).last_hidden_state
        last = states[:, -1]
        assert isinstance(last, Tensor)
        return last


def _width(mask: Tensor) -> int:
    """Columns from the first that is real in any row."""
    used = mask.any(0).nonzero()
    return mask.shape[1] - int(used[0]) if len(used) else 0


def _fitted(mask: Tensor, columns: int) -> Tensor:
    """[B, L] as [B, columns]: padded, or cut, in front."""
    short = columns - mask.shape[1]
    return torch.cat([mask.new_zeros(len(mask), short), mask], dim=1) if short > 0 else mask[:, -short:]


def _lengthened(ahead: Tensor, most: int) -> Tensor:
    """[axes, B, M] with the last position repeated up to `most`; a row never comes to those."""
    short = most - ahead.shape[2]
    return torch.cat([ahead, ahead[:, :, -1:].expand(-1, -1, short)], dim=2) if short else ahead
