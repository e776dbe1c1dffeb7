"""CLIP's vision transformer over a whole clip, whose frames meet in video proxies.

Source: CLIP-ViP (Xue et al. 2022, "CLIP-ViP: Adapting Pre-trained Image-Text Model to Video-Language
Representation Alignment", arXiv 2209.06430) and its published code for what the paper leaves open. The
class token and M added tokens are the proxies: they attend to everything, while a patch attends to the
proxies and to its own frame. All of them have position 0 and no place in time; patch i of frame t has
position 1 + i and the frame's row of a temporal table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from transformers import AttentionInterface

from vidapt.nouns import Features, Grid
from vidapt.parts import PartConfig
from vidapt.towers._patches import ClipArch, PatchTower, tiny_arch
from vidapt.towers._pixels import normalise
from vidapt.towers._proxies import told_apart
from vidapt.towers.frame_vit import CLIP_MEAN, CLIP_STD

VIDEO_PROXIES = "vidapt_video_proxies"
"""Name under which the attention is registered with transformers."""


class Part(PatchTower):
    """Frames of a clip to patches and proxies, both as the last layer leaves them.

    Args:
        cfg: Architecture, proxies and normalisation.

    Attributes:
        net: The transformers model. Its last norm is applied by `pool` alone, so it is frozen from the
            start; who trains what `pool` gives has to release it.
        added: [M, C] added proxies.
        temporal: [1, frames, C], interpolated linearly for clips of another length.
        width: C.
        size: Native (height, width) in pixels.
        depth: Number of layers.
        projected: Whether `pool` has mapped to the width that texts share: it has not.
        mean: Subtracted from pixels in 0..1, per channel.
        std: Divided by, per channel.
    """

    class Config(PartConfig):
        """Architecture, proxies and normalisation.

        Attributes:
            arch: A transformers vision config as a dict; `model_type` is `clip_vision_model`.
            added: M, proxies beside the class token.
            frames: Rows of the temporal table.
            added_seen: Whether anything attends to the added proxies. If not, and as long as the temporal
                table is zero, one frame shown any number of times gives the class token of image CLIP.
            mean: Per channel, in 0..1.
            std: Per channel, in 0..1.
        """

        choices = frozenset({"mean", "std"})

        arch: ClipArch
        added: int = Field(default=3, ge=0)
        frames: int = Field(default=12, ge=1)
        added_seen: bool = True
        mean: tuple[float, float, float] = CLIP_MEAN
        std: tuple[float, float, float] = CLIP_STD

    projected = False

    def __init__(self, cfg: Config) -> None:
        super().__init__(cfg, attention=VIDEO_PROXIES)
        self.cfg = cfg
        self.depth: int = self.net.config.num_hidden_layers
        self.added = nn.Parameter(torch.randn(cfg.added, self.width))
        self.temporal = nn.Parameter(torch.zeros(1, cfg.frames, self.width))
        self.net.post_layernorm.requires_grad_(False)

    def forward(self, views: Tensor) -> Features:
        """See N clips.

        Args:
            views: [N, T, 3, H, W] uint8, or floats in 0..255. Sizes other than the native one interpolate
                the position table.

        Returns:
            x: [N, T, h, w, C]; extra: [N, 1 + M, C], the class token and then the added proxies.
        """
        for state in self.states(views):
            last = state
        return self.features(last, self.grid(views.shape[1], (views.shape[-2], views.shape[-1])))

    def states(self, views: Tensor) -> Iterator[Tensor]:
        """The embedded clip, and then what each layer makes of it.

        Args:
            views: As `forward` takes them.

        Yields:
            [N, 1 + M + T h w, C]: proxies, then patches frame by frame and row by row.
        """
        state = self._embed(views)
        yield state
        proxies = 1 + self.cfg.added
        seen = proxies if self.cfg.added_seen else 1
        for layer in self.net.encoder.layers:
            state = layer(state, None, proxies=proxies, frames=views.shape[1], seen=seen)
            yield state

    def features(self, state: Tensor, grid: Grid) -> Features:
        """Tell patches and proxies of a state apart.

        Args:
            state: One of `states`.
            grid: Of the patches.
        """
        return told_apart(state, 1 + self.cfg.added, grid)

    def pool(self, seen: Features) -> Tensor:
        """The vector that stands for the clip, before its projection: the class token, normalised.

        Args:
            seen: What `forward` gave.

        Returns:
            [N, 1, C].
        """
        assert seen.extra is not None
        pooled: Tensor = self.net.post_layernorm(seen.extra[:, :1])
        return pooled

    def _embed(self, views: Tensor) -> Tensor:
        """[N, T, 3, H, W] -> [N, 1 + M + T h w, C]."""
        clips, frames = views.shape[:2]
        net = self.net.embeddings
        pixels = normalise(views.flatten(0, 1), self.mean, self.std, net.patch_embedding.weight.dtype)
        patches = net.patch_embedding(pixels).flatten(2).transpose(1, 2)
        places = self._places(views)
        patches = patches.reshape(clips, frames, *patches.shape[1:])
        patches = patches + self._times(frames).unsqueeze(2) + places[1:]
        proxies = torch.cat([net.class_embedding.unsqueeze(0), self.added]) + places[:1]
        state = torch.cat([proxies.expand(clips, -1, -1), patches.flatten(1, 2)], dim=1)
        embedded: Tensor = self.net.pre_layrnorm(state)
        return embedded

    def _places(self, views: Tensor) -> Tensor:
        """[1 + h w, C]: the position of the proxies, then those of the patches."""
        net, (height, width) = self.net.embeddings, views.shape[-2:]
        table: Tensor = net.position_embedding.weight
        if (height, width) == self.size:
            return table
        grid = self.grid(1, (height, width))
        like = table.new_empty(1, 1 + grid.cells, self.width)
        places: Tensor = net.interpolate_pos_encoding(like, height, width)[0]
        return places

    def _times(self, frames: int) -> Tensor:
        """[1, T, C]."""
        if frames == self.cfg.frames:
            return self.temporal
        channels_first = self.temporal.transpose(1, 2)
        return F.interpolate(channels_first, size=frames, mode="linear", align_corners=False).transpose(1, 2)


def video_proxy_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    proxies: int,
    frames: int,
    seen: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    **rest: Any,
) -> tuple[Tensor, None]:
    """Attention in which frames meet only in the proxies, at the cost of one frame for each patch.

    Args:
        module: The attention layer.
        query: [N, heads, P + T L, d]: P proxies, then L patches for each of T frames.
        key: Like `query`.
        value: Like `query`.
        attention_mask: Must be None: who sees whom follows from the counts.
        proxies: P.
        frames: T.
        seen: How many of the proxies are attended to, from the first on. When some are not, the keys of
            the others count once for each frame, so that equal frames weigh as much as one.
        scaling: Factor on the scores; None is 1/sqrt(d).
        dropout: Probability of dropping a weight.
        rest: Nothing that matters here.

    Returns:
        [N, P + T L, heads, d], and None where weights would stand.
    """
    del module, attention_mask, rest

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, scale=scaling, dropout_p=dropout)

    copies = 1 if seen == proxies else frames
    shared = [(x[:, :, :seen], x[:, :, proxies:]) for x in (key, value)]
    all_keys, all_values = (torch.cat([head.repeat(1, 1, copies, 1), cells], 2) for head, cells in shared)
    to_proxies = attend(query[:, :, :proxies], all_keys, all_values)
    own = (torch.cat([_each_frame(head, frames), _split(cells, frames)], dim=2) for head, cells in shared)
    to_patches = attend(_split(query[:, :, proxies:], frames), *own)
    to_patches = _join(to_patches, frames)
    return torch.cat([to_proxies, to_patches], dim=2).transpose(1, 2).contiguous(), None


def _split(x: Tensor, frames: int) -> Tensor:
    """[N, heads, T L, d] -> [N T, heads, L, d]."""
    n, heads, length, d = x.shape
    return x.reshape(n, heads, frames, length // frames, d).transpose(1, 2).flatten(0, 1)


def _join(x: Tensor, frames: int) -> Tensor:
    """[N T, heads, L, d] -> [N, heads, T L, d]."""
    return x.reshape(-1, frames, *x.shape[1:]).transpose(1, 2).flatten(2, 3)


def _each_frame(x: Tensor, frames: int) -> Tensor:
    """[N, heads, P, d] -> [N T, heads, P, d], the same for each frame of a clip."""
    return x.unsqueeze(1).expand(-1, frames, -1, -1, -1).flatten(0, 1)


AttentionInterface.register(VIDEO_PROXIES, video_proxy_attention)


def tiny() -> Part:
    """The smallest sensible instance: two layers, 3 x 3 patches, two added proxies, random weights."""
    arch = tiny_arch("clip_vision_model", intermediate_size=32, projection_dim=16)
    return Part(Part.Config(arch=arch, added=2, frames=3))
