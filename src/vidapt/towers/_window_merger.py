"""Windows of cells attend within themselves and become one cell each, between two layers of a tower.

Source: the merger that MiniCPM-V 4.6 puts behind one of SigLIP's first layers, as transformers has it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers.models.siglip.modeling_siglip import SiglipAttention


class WindowMerger(nn.Module):
    """Attention within each window, then its cells side by side through an MLP, to which their mean is added.

    Args:
        config: Of the SigLIP it stands in.
        side: Cells per side of a window.
    """

    def __init__(self, config: Any, side: int) -> None:
        super().__init__()
        self.side = side
        width, cells = config.hidden_size, side**2
        self.layer_norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.self_attn = SiglipAttention(config)
        self.pre_norm = nn.LayerNorm(width * cells, eps=config.layer_norm_eps)
        self.linear_1 = nn.Linear(width * cells, config.intermediate_size * cells)
        self.linear_2 = nn.Linear(config.intermediate_size * cells, width)

    def forward(self, cells: Tensor, height: int, width: int) -> Tensor:
        """Merge.

        Args:
            cells: [n, h * w, C], row by row.
            height: h, a multiple of the window's side.
            width: w, likewise.

        Returns:
            [n, h / side * w / side, C].
        """
        side, count = self.side, len(cells)
        rows = cells.reshape(count, height // side, side, width // side, side, -1)
        windows = rows.transpose(2, 3).flatten(0, 2).flatten(1, 2)
        attended, _ = self.self_attn(self.layer_norm1(windows))
        windows = windows + attended
        made = self.linear_2(gelu(self.linear_1(self.pre_norm(windows.flatten(1))), approximate="tanh"))
        merged: Tensor = made + windows.mean(dim=1)
        return merged.reshape(count, -1, merged.shape[-1])
