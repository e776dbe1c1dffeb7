"""Linear layers in eight bits for processors: weights are rounded once, inputs where they come."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidapt.models.placement import quantizable
from vidapt.models.video_lm import VideoLM

_HIGHEST = 127
_SMALLEST = torch.finfo(torch.float32).tiny


class Int8Linear(nn.Module):
    """A linear layer whose products are of 8-bit numbers, summed exactly.

    Every output has a scale of its own for its weights, and every row of the input one for its numbers
    ("dynamic" quantisation; Dettmers et al. 2022, "LLM.int8", without its outliers).

    Args:
        layer: What it stands for, on a processor; of two inputs at least.
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight, scale = _rounded(layer.weight.detach().float())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale.squeeze(1))
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out], in the number format of the input."""
        rows, scale = _rounded(x.reshape(-1, self.in_features).float())
        found = torch._int_mm(rows, self.weight.t()).float() * scale * self.scale
        if self.bias is not None:
            found = found + self.bias
        return found.to(x.dtype).view(*x.shape[:-1], self.out_features)


def _rounded(wide: Tensor) -> tuple[Tensor, Tensor]:
    """[N, C] as 8-bit numbers, and [N, 1] what one of them is worth."""
    scale = (wide.abs().amax(1, keepdim=True) / _HIGHEST).clamp_min(_SMALLEST)
    return (wide / scale).round().to(torch.int8), scale


def quantize_for_processor(model: VideoLM) -> None:
    """Store the language model's linear layers in 8 bits, in place; its output layer keeps its format.

    Args:
        model: On a processor, for answering only.
    """
    for name, layer in quantizable(model).items():
        if layer.in_features > 1:  # torch's kernel multiplies single numbers wrongly
            model.language.set_submodule(name, Int8Linear(layer))
