"""CLIP's equations written plainly, and small random weights in the layouts its authors publish."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vidapt.towers.frame_vit import CLIP_MEAN, CLIP_STD

Weights = Mapping[str, Tensor]

HEAD = 64


def shake(module: torch.nn.Module, by: float = 0.3) -> torch.nn.Module:
    """Move every weight away from zeros and ones, which would hide a swap of two of them."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator, dtype=weight.dtype) * by)
    return module.eval()


def film(clips: int = 2, frames: int = 3, side: int = 12, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (clips, frames, 3, side, side), dtype=torch.uint8, generator=generator)


def pixels(frames: Tensor) -> Tensor:
    """[..., 3, H, W] uint8 -> float64, by CLIP's mean and deviation."""
    mean = torch.tensor(CLIP_MEAN, dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor(CLIP_STD, dtype=torch.float64).view(3, 1, 1)
    return (frames.double() / 255 - mean) / std


def patches(frame: Tensor, kernel: Tensor) -> Tensor:
    """[3, H, W] -> [h w, C]: every patch times the kernel [C, 3, p, p], row by row."""
    p = kernel.shape[-1]
    rows = []
    for top in range(0, frame.shape[1], p):
        for left in range(0, frame.shape[2], p):
            patch = frame[:, top : top + p, left : left + p]
            rows.append((kernel * patch).sum((1, 2, 3)))
    return torch.stack(rows)


def norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    spread = ((x - x.mean(-1, keepdim=True)) ** 2).mean(-1, keepdim=True)
    scaled = (x - x.mean(-1, keepdim=True)) / (spread + 1e-5).sqrt()
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def quick_gelu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-1.702 * x))


def layer(x: Tensor, weights: Weights, name: str, heads: int, sees: Tensor) -> Tensor:
    """One layer over [L, C] by transformers' names; row i of `sees` [L, L] holds how often i sees each j."""
    y = norm(x, weights, f"{name}.layer_norm1")
    q, k, v = (linear(y, weights, f"{name}.self_attn.{which}_proj") for which in "qkv")
    d = x.shape[1] // heads
    mixed = []
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        scores = torch.exp((q[:, part] / d**0.5) @ k[:, part].T) * sees
        mixed.append(scores / scores.sum(1, keepdim=True) @ v[:, part])
    x = x + linear(torch.cat(mixed, dim=1), weights, f"{name}.self_attn.out_proj")
    y = quick_gelu(linear(norm(x, weights, f"{name}.layer_norm2"), weights, f"{name}.mlp.fc1"))
    return x + linear(y, weights, f"{name}.mlp.fc2")


def layers(x: Tensor, weights: Weights, name: str, heads: int, sees: Tensor) -> Tensor:
    index = 0
    while f"{name}.{index}.layer_norm1.weight" in weights:
        x = layer(x, weights, f"{name}.{index}", heads, sees)
        index += 1
    return x


def image_states(frame: Tensor, weights: Weights, name: str, heads: int) -> Tensor:
    """[3, H, W] uint8 -> [1 + h w, C] after the last layer of image CLIP."""
    cells = patches(pixels(frame), weights[f"{name}.embeddings.patch_embedding.weight"])
    x = torch.cat([weights[f"{name}.embeddings.class_embedding"][None], cells])
    x = norm(x + weights[f"{name}.embeddings.position_embedding.weight"], weights, f"{name}.pre_layrnorm")
    return layers(x, weights, f"{name}.encoder.layers", heads, torch.ones(len(x), len(x)).double())


def text_states(ids: Tensor, table: Tensor, weights: Weights, name: str, heads: int) -> Tensor:
    """[L] ids -> [L, C] after the last norm; `table` holds the positions."""
    x = weights[f"{name}.embeddings.token_embedding.weight"][ids] + table[: len(ids)]
    sees = torch.ones(len(ids), len(ids)).tril().double()
    x = layers(x, weights, f"{name}.encoder.layers", heads, sees)
    return norm(x, weights, f"{name}.final_layer_norm")


def proxy_sees(proxies: int, frames: int, cells: int) -> Tensor:
    """CLIP-ViP's mask: proxies see all, a patch sees the proxies and its own frame."""
    frame = torch.cat([torch.full((proxies,), -1), torch.arange(frames).repeat_interleave(cells)])
    proxy = frame == -1
    return (proxy[:, None] | proxy[None, :] | (frame[:, None] == frame[None, :])).double()


def times(table: Tensor, frames: int) -> Tensor:
    """[F, C] -> [frames, C], linear between the rows' middles."""
    old, rows = len(table), []
    for index in range(frames):
        place = min(max((index + 0.5) * old / frames - 0.5, 0), old - 1)
        first = int(place)
        second = min(first + 1, old - 1)
        rows.append(table[first] * (1 - (place - first)) + table[second] * (place - first))
    return torch.stack(rows)


def clip_vip_states(
    clip: Tensor,
    weights: Weights,
    place: str,
    heads: int,
    sees: Tensor | None = None,
) -> Tensor:
    """[T, 3, H, W] uint8 -> [1 + M + T h w, C] after the last layer of the tower at `place`."""
    net = f"{place}.net"
    kernel = weights[f"{net}.embeddings.patch_embedding.weight"]
    position = weights[f"{net}.embeddings.position_embedding.weight"]
    temporal = times(weights[f"{place}.temporal"][0], len(clip))
    cells = [patches(pixels(frame), kernel) + temporal[t] + position[1:] for t, frame in enumerate(clip)]
    proxies = torch.cat([weights[f"{net}.embeddings.class_embedding"][None], weights[f"{place}.added"]])
    x = torch.cat([proxies + position[0], *cells])
    if sees is None:
        sees = proxy_sees(len(proxies), len(clip), len(cells[0]))
    return layers(norm(x, weights, f"{net}.pre_layrnorm"), weights, f"{net}.encoder.layers", heads, sees)


def exact(module: torch.nn.Module, place: str = "") -> dict[str, Tensor]:
    """Weights of a module in float64, by their names behind `place`."""
    return {f"{place}{key}": tensor.double() for key, tensor in module.state_dict().items()}
