"""CLIP's text tower, and how Long-CLIP makes it read longer texts.

Source: CLIP (Radford et al. 2021, arXiv 2103.00020) as transformers implements it; Long-CLIP (Zhang et al.
2024, arXiv 2403.15378): the first 20 positions, which short captions have trained well, are kept and frozen,
the others are stretched four times, and only the stretched ones learn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from vidapt.errors import ConfigError
from vidapt.parts import possible, refuse_endless
from vidapt.recipe import Text

__all__ = ["FACTOR", "KEPT", "Text", "TextTower", "TwoTables", "stretch"]

KEPT, FACTOR = 20, 4
"""Long-CLIP's: 20 rows stay, the 57 others become 228; 248 in all."""


class TextTower(nn.Module):
    """Texts to one vector each, and to one for each token.

    Args:
        cfg: Architecture and position tables.

    Attributes:
        net: The transformers model.
        width: Of both kinds of vectors.
        depth: Number of layers.
        positions: Tokens of the longest text.

    Raises:
        ConfigError: If there is no such text model.
    """

    def __init__(self, cfg: Text) -> None:
        super().__init__()
        self.cfg = cfg
        fields = dict(cfg.arch)
        kind = fields.pop("model_type", None)
        if kind != "clip_text_model":
            raise ConfigError("text.arch", f"model_type is {kind!r}", "known: clip_text_model")
        refuse_endless(fields, "text.arch")
        with possible("text.arch"):
            config = CLIPTextConfig(**fields)
            self.net: Any = CLIPTextModel(config).to(torch.float32)
        self.width: int = config.hidden_size
        self.depth: int = config.num_hidden_layers
        self.positions: int = config.max_position_embeddings
        if cfg.kept is not None:
            table = self.net.embeddings.position_embedding.weight
            self.net.embeddings.position_embedding = TwoTables(*table.shape, kept=cfg.kept)

    def states(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """A vector for each token, after the last norm.

        Args:
            ids: [N, L] long; L is at most `positions`.
            mask: [N, L], 1 where a token is real. Without one all are, which changes nothing in front of the
                padding: a token sees only those before it.

        Returns:
            [N, L, width].

        Raises:
            ConfigError: If the texts are too long.
        """
        return self.layers(ids, mask)[-1]

    def layers(self, ids: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """The embedded tokens, what each layer makes of them, and at last `states`.

        Args:
            ids: As `states` takes them.
            mask: As `states` takes it.

        Returns:
            [N, L, width] each: embedding, layers 1 to n, and the last one once more after the last norm.

        Raises:
            ConfigError: If the texts are too long.
        """
        if ids.shape[1] > self.positions:
            raise ConfigError(
                "text",
                f"a caption of {ids.shape[1]} tokens; this text tower reads {self.positions}",
                "shorten it, or use a model for longer texts, such as Long-CLIP",
            )
        out = self.net(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        return [*out.hidden_states, out.last_hidden_state]

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """The vector that stands for each text: that of its end mark, which is the largest id.

        Args:
            ids: As `states` takes them.
            mask: As `states` takes it.

        Returns:
            [N, width].
        """
        return self.pool(self.states(ids, mask), ids)

    def pool(self, states: Tensor, ids: Tensor) -> Tensor:
        """The vector that stands for each text, out of those of its tokens.

        Args:
            states: [N, L, any width].
            ids: [N, L] long.

        Returns:
            [N, any width].
        """
        return states[torch.arange(len(ids), device=ids.device), ids.argmax(-1)]


class TwoTables(nn.Module):
    """A table of positions whose first rows are frozen; it stands in the place of an `nn.Embedding`.

    Args:
        rows: Of each table.
        width: Of a row.
        kept: How many rows are read from `first`.

    Attributes:
        first: [rows, width], frozen; those behind the first `kept` are not read.
        rest: [rows, width]; the first `kept` are not read.
    """

    def __init__(self, rows: int, width: int, *, kept: int) -> None:
        super().__init__()
        self.kept = kept
        self.first = nn.Parameter(torch.randn(rows, width) * 0.01, requires_grad=False)
        self.rest = nn.Parameter(self.first.detach().clone())

    @property
    def weight(self) -> Tensor:
        """[rows, width]: the rows that are read."""
        return torch.cat([self.first[: self.kept], self.rest[self.kept :]])

    def forward(self, positions: Tensor) -> Tensor:
        """[...] long -> [..., width]."""
        return self.weight[positions]


def stretch(table: Tensor, kept: int = KEPT, factor: int = FACTOR) -> Tensor:
    """Stretch a table of positions.

    Args:
        table: [P, width], at least two rows behind the kept ones.
        kept: First rows, which stay as they are.
        factor: Rows that each of the others becomes. Between two old rows the new ones lie on the line from
            one to the other; behind the last one they go on in the direction of the last step.

    Returns:
        [kept + factor (P - kept), width].

    Raises:
        ValueError: If there are too few rows.
    """
    old = table[kept:]
    if len(old) < 2:
        raise ValueError(f"a table of {len(table)} rows cannot be stretched behind the first {kept}")
    steps = old[1:] - old[:-1]
    steps = torch.cat([steps, steps[-1:]])
    parts = torch.arange(factor, device=table.device, dtype=table.dtype) / factor
    new = old[:, None] + parts[None, :, None] * steps[:, None]
    return torch.cat([table[:kept], new.flatten(0, 1)])
