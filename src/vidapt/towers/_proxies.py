"""States of towers that begin with video proxies, as in CLIP-ViP (Xue et al. 2022, arXiv 2209.06430)."""

from __future__ import annotations

from torch import Tensor

from vidapt.nouns import Features, Grid


def told_apart(state: Tensor, proxies: int, grid: Grid) -> Features:
    """Cells and proxies of a state.

    Args:
        state: [N, proxies + t h w, C]: proxies, then cells frame by frame and row by row.
        proxies: How many there are.
        grid: Of the cells.

    Returns:
        x: [N, t, h, w, C]; extra: [N, proxies, C].
    """
    cells = state[:, proxies:].reshape(len(state), grid.t, grid.h, grid.w, state.shape[-1])
    return Features(cells, extra=state[:, :proxies])
