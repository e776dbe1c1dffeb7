"""What an alignment step offers its objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from vidapt.nouns import Features, Views


class PairsBatch(Protocol):
    """What a step offers: N clips, M texts and K falsified texts.

    Attributes:
        views: The clips as they are cut, stacked; empty where features are kept.
        features: What a frozen tower saw of them, if it is kept.
        ids: [M + K, L] long: the texts, then the falsified ones.
        real: [M + K, L] bool, which tokens are no padding.
        clip_of: [M] long.
        group: [N] long.
        false_of: [K] long.
    """

    @property
    def views(self) -> Sequence[Views]: ...

    @property
    def features(self) -> Features | None: ...

    @property
    def ids(self) -> Tensor: ...

    @property
    def real(self) -> Tensor: ...

    @property
    def clip_of(self) -> Tensor: ...

    @property
    def group(self) -> Tensor: ...

    @property
    def false_of(self) -> Tensor: ...
