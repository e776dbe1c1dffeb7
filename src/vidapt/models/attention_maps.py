"""What a vision tower attends to: layer by layer and head by head, and through all layers at once.

The fast paths of the towers never hold attention weights. Here the same layers are computed with the weights
in hand: the states are those of the tower's own forward (tests compare them), and each row of weights sums
to 1. Rollout multiplies the layers' weights, averaged over heads and with the skip connection counted as
half of each layer (Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers", arXiv 2005.00928).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial, singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.nouns import Grid
from vidapt.towers import clip_vip, conv_vip, frame_vit, long_clip, siglip_navit
from vidapt.towers._pixels import normalise

CLASS = "class"
"""Name of a class token; proxies are called `proxy 1`, `proxy 2`, ..."""

_AT_ONCE = 1 << 22
"""Pairs of tokens whose weights are held together (times heads), unless a single sequence has more."""


@dataclass(frozen=True)
class Step:
    """One layer over S sequences.

    Attributes:
        weights: [S, heads, L, L]; each row sums to 1.
        state: [S, L, C], as the layer leaves it.
    """

    weights: Tensor
    state: Tensor


@dataclass(frozen=True)
class Walk:
    """A tower and one clip, ready to be gone through layer by layer.

    Attributes:
        grid: Of the patches.
        names: Of the tokens in front of the patches, which have no place: class token and proxies.
        embedded: [S, L, C]; a sequence is the whole clip (S = 1) or one frame (S = T).
        layers: Each makes [s, L, C] its step; s is any number of the sequences.
        finish: The states of the last step to those that the tower hands on.
    """

    grid: Grid
    names: tuple[str, ...]
    embedded: Tensor
    layers: tuple[Callable[[Tensor], Step], ...]
    finish: Callable[[Tensor], Tensor] = field(default_factory=nn.Identity)

    def steps(self, state: Tensor) -> Iterator[Step]:
        """Go through the layers.

        Args:
            state: [s, L, C], some of the embedded sequences.
        """
        for layer in self.layers:
            step = layer(state)
            state = step.state
            yield step

    def states(self) -> Iterator[Tensor]:
        """The embedded clip, and then what each layer makes of it, [S, L, C]."""
        yield self.embedded
        for step in self.steps(self.embedded):
            yield step.state

    def cells(self, tokens: Tensor) -> Tensor:
        """Those of the tokens that are patches, in their places: [S, L, ...] -> [T, h, w, ...]."""
        patches = tokens[:, len(self.names) :]
        return patches.reshape(self.grid.t, self.grid.h, self.grid.w, *tokens.shape[2:])


@dataclass(frozen=True)
class LayerMaps:
    """What one layer attends to.

    Attributes:
        sent: [heads, K, T, h, w]: how much each of the K tokens without a place attends to each patch.
        received: [heads, T, h, w]: how much a patch is attended to, on average over all tokens.
        rolled: [K + 1, T, h, w]: the same after all layers up to this one, by rollout; the average last.
    """

    sent: Tensor
    received: Tensor
    rolled: Tensor


@dataclass(frozen=True)
class TowerMaps:
    """What a tower attends to in one clip.

    Attributes:
        names: Of the K tokens without a place.
        layers: From the first on.
        norms: [T, h, w]: length of each patch's state after the last layer.
    """

    names: tuple[str, ...]
    layers: tuple[LayerMaps, ...]
    norms: Tensor

    @property
    def heads(self) -> int:
        """Heads of a layer."""
        return len(self.layers[0].received)

    def default_token(self) -> str:
        """The class token where there is one, else the proxies, else what patches receive."""
        return CLASS if CLASS in self.names else "proxies" if self.names else "received"

    def pick(
        self, layer: int = -1, head: int | None = None, token: str | None = None, *, rollout: bool = False
    ) -> Tensor:
        """One map.

        Args:
            layer: Counted from 1, or from the end: -1 is the last.
            head: Counted from 1; None is the average.
            token: `class`, `proxies` (the average over all tokens without a place, the class token among
                them), the name of one of them, or `received`; None is `default_token`.
            rollout: Follow the attention through all layers up to this one.

        Returns:
            [T, h, w], not negative.

        Raises:
            ConfigError: If there is no such layer, head or token, or a head is asked for with rollout.
        """
        maps = self.layers[_index("layer", layer, len(self.layers), backwards=True)]
        token = token or self.default_token()
        if rollout:
            if head is not None:
                raise ConfigError("--head", "rollout averages over heads", "leave out --head or --rollout")
            return maps.rolled[-1] if token == "received" else maps.rolled[self._rows(token)].mean(0)
        each = maps.received if token == "received" else maps.sent[:, self._rows(token)].mean(1)
        return each.mean(0) if head is None else each[_index("head", head, self.heads)]

    def _rows(self, token: str) -> list[int]:
        rows = [i for i, name in enumerate(self.names) if token in ("proxies", name)]
        if not rows:
            known = [*self.names, *(["proxies"] if self.names else []), "received"]
            raise ConfigError("--token", f"this tower has no {token!r}", f"known: {', '.join(known)}")
        return rows


def _index(what: str, number: int, count: int, *, backwards: bool = False) -> int:
    """Counted from 0.

    Raises:
        ConfigError: If there is no such number.
    """
    index = count + number if backwards and number < 0 else number - 1
    if not 0 <= index < count:
        remedy = f"use a number from 1 to {count}" + (", or -1 for the last" if backwards else "")
        raise ConfigError(f"--{what}", f"there is no {what} {number}: this tower has {count}", remedy)
    return index


@singledispatch
def walk(tower: Any, views: Tensor) -> Walk:
    """Prepare to go through a tower; other towers can be taught with `walk.register`.

    Args:
        tower: A vision tower.
        views: [1, T, 3, H, W] uint8, or floats in 0..255: one clip.

    Raises:
        ConfigError: If the tower has no attention, or none whose weights can be computed here.
    """
    del views
    raise ConfigError(
        "tower",
        f"the attention of {type(tower).__module__.rpartition('.')[2]!r} cannot be shown",
        "known: clip_vip, conv_vip, frame_vit, long_clip, siglip_navit",
    )


@torch.inference_mode()
def tower_maps(tower: Any, views: Tensor) -> TowerMaps:
    """Compute all maps of a clip.

    Args:
        tower: See `walk`.
        views: [1, T, 3, H, W].

    Raises:
        ConfigError: If the tower has no attention to show.
    """
    path = walk(tower, views)
    if not path.layers:
        raise ConfigError("tower", "reads the embedding, below all attention", "use a later layer")
    length = path.embedded.shape[1]
    chunks = torch.split(path.embedded, max(1, _AT_ONCE // length**2))
    found = [_chunk_maps(path, chunk) for chunk in chunks]
    grid, lead = path.grid, len(path.names)

    def whole(pieces: Sequence[Tensor]) -> Tensor:
        """[s, ..., L] for some of the sequences each -> [..., T, h, w]."""
        tokens = torch.cat(list(pieces))[..., lead:].movedim(0, -2)
        return tokens.reshape(*tokens.shape[:-2], grid.t, grid.h, grid.w)

    layers = [
        LayerMaps(*(whole([maps[index][part] for maps, _ in found]) for part in range(3)))
        for index in range(len(path.layers))
    ]
    return TowerMaps(path.names, tuple(layers), whole([norms for _, norms in found]))


def rollout(attention: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Attention of some tokens through several layers.

    Args:
        attention: [S, L, L] per layer, from the first on, averaged over heads; rows sum to 1.
        rows: [R, L], each summing to 1: how much of each token a wanted row begins with.

    Returns:
        [S, R, L], rows sum to 1: how much of each token of the input there is in it.
    """
    flow = rows.expand(len(attention[0]), -1, -1)
    for weights in reversed(attention):
        flow = (flow + flow @ weights) / 2
    return flow


def _chunk_maps(path: Walk, chunk: Tensor) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor]:
    """Of s sequences: per layer sent [s, heads, K, L], received [s, heads, L], rolled [s, K + 1, L]; norms.

    The norms are [s, L].
    """
    lead, length = len(path.names), chunk.shape[1]
    begin = torch.eye(length, dtype=chunk.dtype, device=chunk.device)[:lead]
    begin = torch.cat([begin, torch.full_like(chunk[:1, :, 0], 1 / length)])
    averaged: list[Tensor] = []
    maps: list[tuple[Tensor, Tensor, Tensor]] = []
    state = chunk
    for step in path.steps(chunk):
        averaged.append(step.weights.mean(1))
        # A copy, because a view would keep the weights of every layer in memory.
        maps.append((step.weights[:, :, :lead].clone(), step.weights.mean(2), rollout(averaged, begin)))
        state = step.state
    return maps, state.norm(dim=-1)


def attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float, counts: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention with its weights.

    Args:
        q: [S, heads, L, d].
        k: Like `q`.
        v: Like `q`.
        scale: Factor on the scores.
        counts: [L, L]: how often row i sees token j; 0 is not at all. None is once each.

    Returns:
        [S, heads, L, d], and weights [S, heads, L, L].
    """
    scores = (q * scale) @ k.transpose(-1, -2)
    if counts is not None:
        scores = scores + counts.log()
    weights = scores.softmax(-1)
    return weights @ v, weights


def video_proxy_counts(proxies: int, grid: Grid, seen: int) -> Tensor:
    """Who sees whom when frames meet only in proxies, [L, L]; see `towers.clip_vip.video_proxy_attention`.

    Args:
        proxies: P, the first tokens of a clip.
        grid: Of the patches behind them.
        seen: How many of the proxies are attended to. When some are not, proxies see each of the others
            once for every frame.
    """
    cells = grid.h * grid.w
    frame = torch.cat([torch.full((proxies,), -1), torch.arange(grid.t).repeat_interleave(cells)])
    proxy = frame == -1
    counts = (proxy[:, None] | proxy[None, :] | (frame[:, None] == frame[None, :])).float()
    if seen < proxies:
        counts[:, seen:proxies] = 0
        counts[:proxies, :seen] = grid.t
    return counts


@walk.register
def _clip_vip(tower: clip_vip.Part, views: Tensor) -> Walk:
    grid = _grid(tower, views)
    proxies = 1 + tower.cfg.added
    counts = video_proxy_counts(proxies, grid, proxies if tower.cfg.added_seen else 1)
    embedded = next(tower.states(views))
    layers = _encoder(tower.net, counts.to(embedded))
    names = (CLASS, *(f"proxy {index}" for index in range(1, proxies)))
    return Walk(grid, names, embedded, layers)


@walk.register
def _long_clip(tower: long_clip.Part, views: Tensor) -> Walk:
    # The grid of the patches, also where the tower hands on features alone.
    embedded = _frames(tower, views)
    grid = Grid(views.shape[1], views.shape[-2] // tower.patch, views.shape[-1] // tower.patch)
    return Walk(grid, (CLASS,), tower.net.pre_layrnorm(embedded), _encoder(tower.net))


@walk.register
def _frame_vit(tower: frame_vit.Part, views: Tensor) -> Walk:
    embedded = _frames(tower, views)
    layers = _encoder(tower.net)
    read = tower.cfg.layer if tower.cfg.layer >= 0 else len(layers) + 1 + tower.cfg.layer
    has_class_token = tower.cfg.arch["model_type"] == "clip_vision_model"
    if has_class_token:
        embedded = tower.net.pre_layrnorm(embedded)
    return Walk(_grid(tower, views), (CLASS,) if has_class_token else (), embedded, layers[:read])


@walk.register
def _siglip_navit(tower: siglip_navit.Part, views: Tensor) -> Walk:
    grid, net = _grid(tower, views), tower.net.embeddings
    side = tower.size[0] // tower.patch
    rows, columns = (siglip_navit.buckets(count, side, tower.cfg.compat) for count in (grid.h, grid.w))
    places = net.position_embedding((rows[:, None] * side + columns).flatten().to(views.device))
    pixels = normalise(views.flatten(0, 1), tower.mean, tower.std, net.patch_embedding.weight.dtype)
    embedded = net.patch_embedding(pixels).flatten(2).transpose(1, 2) + places
    return Walk(grid, (), embedded, _encoder(tower.net), tower.net.post_layernorm)


@walk.register
def _conv_vip(tower: conv_vip.Part, views: Tensor) -> Walk:
    grid, proxies = _grid(tower, views), tower.cfg.proxies
    if grid.t > tower.cfg.frames:
        raise ConfigError("tower", f"{grid.t} frames", f"it takes at most {tower.cfg.frames}")
    pixels = normalise(views.flatten(0, 1), tower.mean, tower.std, tower.place.dtype)
    cells = tower.stem(pixels.reshape(views.shape)) + tower.place + tower.time[: grid.t]
    embedded = torch.cat([tower.proxies.expand(len(cells), -1, -1), cells.flatten(1, 3)], dim=1)
    counts = video_proxy_counts(proxies, grid, proxies).to(embedded)
    layers = tuple(partial(_conv_vip_block, block, counts=counts) for block in tower.blocks)
    names = tuple(f"proxy {index}" for index in range(1, proxies + 1))
    return Walk(grid, names, embedded, layers, tower.norm)


def _conv_vip_block(block: Any, state: Tensor, counts: Tensor) -> Step:
    q, k, v = (_split(part, block.heads) for part in block.qkv(block.before_attention(state)).chunk(3, -1))
    mixed, weights = attend(q, k, v, q.shape[-1] ** -0.5, counts)
    state = state + block.out(_joined(mixed))
    return Step(weights, state + block.mlp(block.before_mlp(state)))


def _encoder(net: Any, counts: Tensor | None = None) -> tuple[Callable[[Tensor], Step], ...]:
    """The layers of transformers' CLIP or SigLIP."""
    return tuple(partial(_encoder_layer, layer, counts=counts) for layer in net.encoder.layers)


def _encoder_layer(layer: Any, state: Tensor, counts: Tensor | None) -> Step:
    own, normed = layer.self_attn, layer.layer_norm1(state)
    q, k, v = (_split(project(normed), own.num_heads) for project in (own.q_proj, own.k_proj, own.v_proj))
    mixed, weights = attend(q, k, v, own.scale, counts)
    state = state + own.out_proj(_joined(mixed))
    return Step(weights, state + layer.mlp(layer.layer_norm2(state)))


def _frames(tower: Any, views: Tensor) -> Tensor:
    """[1, T, 3, H, W] -> [T, L, C]: what transformers' CLIP or SigLIP embeds of each frame."""
    native = tuple(views.shape[-2:]) == tower.size
    net = tower.net.embeddings
    pixels = normalise(views.flatten(0, 1), tower.mean, tower.std, net.patch_embedding.weight.dtype)
    embedded = net(pixels, interpolate_pos_encoding=not native)
    assert isinstance(embedded, Tensor)
    return embedded


def _grid(tower: Any, views: Tensor) -> Grid:
    grid = tower.grid(views.shape[1], (views.shape[-2], views.shape[-1]))
    assert isinstance(grid, Grid)
    return grid


def _split(x: Tensor, heads: int) -> Tensor:
    """[S, L, C] -> [S, heads, L, C / heads]."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """[S, heads, L, d] -> [S, L, heads d]."""
    return x.transpose(1, 2).flatten(2)
