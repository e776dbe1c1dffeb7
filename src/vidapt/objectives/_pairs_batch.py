"""What an alignment step offers its objective."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from vidapt.nouns import Features


class PairsBatch(Protocol):
    """What a step offers: N clips, M texts and K falsified texts.

    Attributes:
        views: [N, T, 3, h, w], the clips as they are cut; None where features are kept.
        features: What a frozen tower saw of them, if it is kept.
        ids: [M + K, L] long: the texts, then the falsified ones.
        real: [M + K, L] bool, which tokens are no padding.
        clip_of: [M] long.
        group: [N] long.
        false_of: [K] long.
    """

    @property
    def views(self) -> Tensor | None: ...

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

    def taught(self, name: str) -> Features:
        """What a teacher saw of the N clips."""
        ...
