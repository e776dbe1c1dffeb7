"""SigLIP for pictures of any size: each patch takes the position of its place in a fixed square table.

Source: the vision tower of MiniCPM-V 2.6 (Yao et al. 2024, arXiv 2408.01800), which is SigLIP (Zhai et al.
2023, arXiv 2303.15343) with positions by fraction, after Patch n' Pack (Dehghani et al. 2023, arXiv
2307.06304) and Idefics2; the tower of MiniCPM-V 4.6, which merges windows of cells on the way.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from vidapt.nouns import Features, Grid
from vidapt.parts import PartConfig
from vidapt.towers._patches import PatchTower, layers_under, one_of, tiny_arch
from vidapt.towers._pixels import normalise
from vidapt.towers._window_merger import WindowMerger

Compat = Literal["published", "exact", "divided"]


class Part(PatchTower):
    """A vision transformer that sees each frame in its own proportions, and may merge its cells on the way.

    Frames of one call have one size, so nothing is padded or masked; the original pads to the longest and
    masks, which gives the same.

    Args:
        cfg: Architecture, position rule and normalisation.

    Attributes:
        net: The transformers model, without a pooling head.
        width: C.
        patch: Side of a patch in pixels.
        size: (height, width) in pixels at which each position of the table is used once.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.
    """

    class Config(PartConfig):
        """Architecture, position rule and normalisation.

        Attributes:
            arch: A transformers configuration of SigLIP's vision model, as a dict.
            compat: Which row (or column) of the table the i-th of n patches takes. `exact` is
                floor(i * rows / n). `published` is the original's comparison of 32-bit fractions, with
                which the weights were trained; for some n (25, 49, 50, 55, 58 among the first sixty) a
                fraction falls just short of its boundary and takes the row before. `divided` compares
                i / n of 32 bits, which falls short with other tables (of 27 rows).
            merge_behind: The layer, counted from 0, behind which windows of cells become one cell each
                (`_window_merger`); None merges nowhere.
            merge: Cells per side of such a window.
            merges: Whether they do; the weights are kept either way, as published, and frozen if not.
            frames_at_once: Frames computed together; bounds memory, does not change the result.
            mean: Per channel, in 0..1.
            std: Per channel, in 0..1.
        """

        choices = frozenset({"compat", "merges", "frames_at_once", "mean", "std"})

        arch: Annotated[dict[str, Any], one_of("siglip_vision_model")]
        compat: Compat = "published"
        merge_behind: int | None = Field(default=None, ge=0)
        merge: int = Field(default=2, ge=1)
        merges: bool = True
        frames_at_once: int = Field(default=16, ge=1)
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
        std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg, vision_use_head=False)
        self.cfg = cfg
        self._table = self.size[0] // self.patch
        self._merge = 1
        if cfg.merge_behind is not None:
            layers_under(cfg.merge_behind + 1, len(self.net.encoder.layers), "siglip_navit")
            self.net.vit_merger = WindowMerger(self.net.config, cfg.merge).requires_grad_(cfg.merges)
            self._merge = cfg.merge if cfg.merges else 1

    def grid(self, frames: int, view: tuple[int, int]) -> Grid:
        """The grid that views of a size give.

        Args:
            frames: T.
            view: (height, width) in pixels.

        Raises:
            ValueError: If the patches of a view do not divide into windows.
        """
        rows, columns = (side // self.patch for side in view)
        if rows % self._merge or columns % self._merge:
            raise ValueError(
                f"{rows} x {columns} patches do not divide into windows of {self._merge} x {self._merge}; "
                f"views need sides of multiples of {self._merge * self.patch} pixels"
            )
        return Grid(frames, rows // self._merge, columns // self._merge)

    def forward(self, views: Tensor) -> Features:
        """See the frames.

        Args:
            views: [N, T, 3, H, W] uint8, or floats in 0..255.

        Returns:
            Features with x [N, T, h, w, C], after the last layer and its norm.
        """
        batch, frames = views.shape[:2]
        grid = self.grid(frames, (views.shape[-2], views.shape[-1]))
        patches = (grid.h * self._merge, grid.w * self._merge)
        chunks = torch.split(views.flatten(0, 1), self.cfg.frames_at_once)
        seen = torch.cat([self._see(chunk, patches) for chunk in chunks])
        return Features(seen.reshape(batch, frames, grid.h, grid.w, self.width))

    def _see(self, frames: Tensor, patches: tuple[int, int]) -> Tensor:
        """[n, 3, H, W] pixels of (rows, columns) of patches -> [n, h * w, C]."""
        embed = self.net.embeddings.patch_embedding
        pixels = normalise(frames, self.mean, self.std, embed.weight.dtype)
        positions = self._positions(*patches).to(frames.device)
        state: Tensor = embed(pixels).flatten(2).transpose(1, 2)
        state = state + self.net.embeddings.position_embedding(positions)
        for number, layer in enumerate(self.net.encoder.layers):
            state = layer(state, None)
            if number == self.cfg.merge_behind and self.cfg.merges:
                state = self.net.vit_merger(state, *patches)
        normed = self.net.post_layernorm(state)
        assert isinstance(normed, Tensor)
        return normed

    def _positions(self, rows: int, columns: int) -> Tensor:
        """[rows * columns] long: where in the table, row by row, each patch of a frame stands."""
        down, across = (buckets(count, self._table, self.cfg.compat) for count in (rows, columns))
        return (down[:, None] * self._table + across).flatten()


def buckets(count: int, table: int, compat: Compat) -> Tensor:
    """Which of `table` rows each of `count` patches takes.

    Args:
        count: Patches along one side of a picture.
        table: Rows of the position table.
        compat: See `Part.Config`.

    Returns:
        [count] long, on the CPU, never falling.
    """
    if compat == "exact":
        return torch.arange(count) * table // count
    boundaries = torch.arange(1 / table, 1.0, 1 / table)
    if compat == "divided":
        return torch.bucketize(torch.arange(count) / count, boundaries, right=True)
    # The original divides by an integer tensor, so its step, unlike the boundaries' step, has 32 bits.
    step = float(torch.tensor(1 / count, dtype=torch.float32))
    fractions = torch.arange(0, 1 - 1e-6, step)
    return torch.bucketize(fractions, boundaries, right=True)


def tiny() -> Part:
    """The smallest sensible instance: one layer, a 3 x 3 table, random weights."""
    arch = tiny_arch("siglip_vision_model", layers=1, intermediate_size=32)
    return Part(Part.Config(arch=arch))
