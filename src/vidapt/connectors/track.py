"""One token per learned thing, read over the whole clip, and one per video proxy.

A slot looks for its thing in each frame: a softmax over the frame's cells and one "absent" choice gives a
presence and a position. The track of presence, position and appearance over all frames goes through an
MLP, the tokens exchange what they found in a few transformer layers, and the language model reads
`slots + scene` tokens however long the clip. The softmax over slots' places is that of keypoint heat maps
with a differentiable arg-max (Nibali et al., 2018, "Numerical Coordinate Regression"); tracks keep
time, which averaging over frames loses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vidapt.connectors._towers import one_tower
from vidapt.nouns import Features, Grid, Tokens
from vidapt.parts import PartConfig


@dataclass(frozen=True)
class Tracks:
    """Where each slot's thing is.

    Attributes:
        logits: [N, T, S + 1, K]: score of each of S cells (row-major) and, last, of "absent".
        presence: [N, T, K] in 0..1.
        place: [N, T, K, 2]: x and y in 0..1 of the view's width and height.
        looks: [N, T, K, V]: appearance.
    """

    logits: Tensor
    presence: Tensor
    place: Tensor
    looks: Tensor


class Part(nn.Module):
    """Slots to tracks to tokens; see the module's docstring for sources."""

    class Config(PartConfig):
        """Sizes of the connector.

        Attributes:
            slots: K, number of things looked for.
            scene: Number of the tower's extra tokens (video proxies) that are passed on.
            frames: Points of a track; clips with another number of frames are resampled in time.
            looks: V, numbers kept of a thing's appearance per frame.
            hidden: Width of the track's MLP and of the mixing layers.
            layers: Number of mixing layers.
            heads: Attention heads of the mixing layers.
        """

        slots: int = Field(12, ge=1)
        scene: int = Field(4, ge=0)
        frames: int = Field(18, ge=1)
        looks: int = Field(4, ge=1)
        hidden: int = Field(192, ge=8)
        layers: int = Field(2, ge=0)
        heads: int = Field(4, ge=1)

    def __init__(self, cfg: Config, *, width_in: int | tuple[int, ...], width_out: int) -> None:
        super().__init__()
        width_in = one_tower("track", width_in)
        self.cfg = cfg
        self.score = nn.Linear(width_in, cfg.slots)
        self.nudge = nn.Linear(width_in, 2 * cfg.slots)
        self.look = nn.Linear(width_in, cfg.looks)
        per_frame = 5 + cfg.looks
        self.track = nn.Sequential(
            nn.Linear(cfg.frames * per_frame, 2 * cfg.hidden),
            nn.GELU(),
            nn.Linear(2 * cfg.hidden, cfg.hidden),
        )
        self.scene = nn.Linear(width_in, cfg.hidden) if cfg.scene else None
        self.name = nn.Parameter(torch.randn(cfg.slots + cfg.scene, cfg.hidden) * 0.5)
        self.mix = _mixing_layers(cfg) if cfg.layers else None
        self.out = nn.Sequential(nn.LayerNorm(cfg.hidden), nn.Linear(cfg.hidden, width_out))
        # Added last, so that the language model can tell tokens apart by a constant, not only by place.
        self.mark = nn.Parameter(torch.randn(cfg.slots + cfg.scene, width_out) * 0.5)

    def plan(self, grid: Grid) -> tuple[Grid, int]:
        """Slots stand in a row; scene tokens have no place."""
        del grid  # the number of tokens is the same for every clip
        return Grid(1, 1, self.cfg.slots), self.cfg.scene

    def tracks(self, features: Features) -> Tracks:
        """Find each slot's thing in each frame of [N, T, h, w, C]."""
        n, t, h, w, c = features.x.shape
        cells = features.x.reshape(n, t, h * w, c)
        scores = self.score(cells)
        logits = torch.cat([scores, scores.new_zeros(n, t, 1, self.cfg.slots)], dim=2)
        weights = logits.softmax(dim=2)[:, :, :-1]
        presence = weights.sum(dim=2)
        share = weights / presence.unsqueeze(2).clamp_min(1e-6)
        cell = torch.tensor([1 / w, 1 / h], dtype=cells.dtype, device=cells.device)
        nudges = self.nudge(cells).reshape(n, t, h * w, self.cfg.slots, 2) * cell
        place = torch.einsum("ntsk,ntskx->ntkx", share, nudges + _centres(h, w, cells)[:, None])
        looks = torch.einsum("ntsk,ntsv->ntkv", share, self.look(cells))
        return Tracks(logits, presence, place, looks)

    def forward(self, *features: Features) -> Tokens:
        """[N, T, h, w, C] and proxies [N, scene, C] to [N, slots + scene, D].

        Raises:
            ValueError: If the tower's extra tokens are not `scene` in number.
        """
        (seen,) = features
        tokens = self.track(self._series(self.tracks(seen)))
        if self.scene is not None:
            found = 0 if seen.extra is None else seen.extra.shape[1]
            if seen.extra is None or found != self.cfg.scene:
                raise ValueError(f"{self.cfg.scene} scene tokens are passed on, the tower gives {found}")
            tokens = torch.cat([tokens, self.scene(seen.extra)], dim=1)
        tokens = tokens + self.name
        if self.mix is not None:
            tokens = self.mix(tokens)
        grid, extra = self.plan(seen.grid)
        return Tokens(self.out(tokens) + self.mark, grid, extra)

    def _series(self, tracks: Tracks) -> Tensor:
        """[N, K, frames * numbers]: presence, position, motion and looks of each slot through time."""
        p = tracks.presence.unsqueeze(-1)
        centred = (tracks.place - 0.5) * 2
        motion = torch.diff(centred, dim=1, prepend=centred[:, :1])
        motion = motion * (p * torch.cat([p[:, :1], p[:, :-1]], dim=1)) * 4
        series = torch.cat([p, centred * p, motion, tracks.looks * p], dim=-1).permute(0, 2, 1, 3)
        n, k, t, numbers = series.shape
        if t != self.cfg.frames:
            flat = series.permute(0, 1, 3, 2).reshape(n, k * numbers, t)
            flat = F.interpolate(flat, self.cfg.frames, mode="linear", align_corners=True)
            series = flat.reshape(n, k, numbers, self.cfg.frames).permute(0, 1, 3, 2)
        return series.reshape(n, k, -1)


def _mixing_layers(cfg: Part.Config) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        cfg.hidden,
        cfg.heads,
        2 * cfg.hidden,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    return nn.TransformerEncoder(layer, cfg.layers, enable_nested_tensor=False)


def _centres(h: int, w: int, like: Tensor) -> Tensor:
    """[h*w, 2]: x and y of the cells' centres in 0..1, row-major."""
    y = (torch.arange(h, dtype=like.dtype, device=like.device) + 0.5) / h
    x = (torch.arange(w, dtype=like.dtype, device=like.device) + 0.5) / w
    return torch.stack([x.repeat(h), y.repeat_interleave(w)], dim=-1)


def tiny(width_in: int = 16, width_out: int = 8) -> Part:
    """The smallest sensible instance."""
    cfg = Part.Config(slots=3, scene=0, frames=3, hidden=16, layers=1, heads=2)
    return Part(cfg, width_in=width_in, width_out=width_out)
