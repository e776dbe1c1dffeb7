"""A video tower and a text tower that meet in one space: the cosine of two vectors says how well they fit.

Source: CLIP (Radford et al. 2021, arXiv 2103.00020), CLIP-ViP (Xue et al. 2022, arXiv 2209.06430) and
Long-CLIP (Zhang et al. 2024, arXiv 2403.15378).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidapt import parts
from vidapt.errors import ConfigError
from vidapt.models._text_tower import TextTower
from vidapt.nouns import Features, Plan
from vidapt.recipe import DualBlueprint

__all__ = ["DualBlueprint", "DualEncoder"]

LOGIT_SCALE = 4.6
"""Of a new model, as CLIP-ViP starts: cosines are multiplied by e^4.6, which is close to 100."""


class DualEncoder(nn.Module):
    """A dual encoder.

    Args:
        blueprint: What it is made of. Weights are random until loaded.

    Attributes:
        tower: The vision tower.
        visual_projection: Tower width to E, without bias; absent where the tower projects by itself.
        text: The text tower.
        text_projection: Text width to E, without bias.
        logit_scale: Natural logarithm of the factor on cosines.
        fixed: Names of weights that a tower froze when it was made; no stage trains them.

    Raises:
        ConfigError: If a part cannot be used.
    """

    def __init__(self, blueprint: DualBlueprint) -> None:
        super().__init__()
        self.blueprint = blueprint
        self.tower = parts.build("towers", blueprint.tower)
        if blueprint.pool == "tower":
            self._let_tower_pool()
        self.visual_projection: nn.Module = nn.Identity()
        if blueprint.pool == "max" or not self.tower.projected:
            self.visual_projection = nn.Linear(self.tower.width, blueprint.width, bias=False)
        self.text = TextTower(blueprint.text)
        self.text_projection = nn.Linear(self.text.width, blueprint.width, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(LOGIT_SCALE))
        self.resolution = parts.build(
            "resolutions", blueprint.resolution, size=self.tower.size, width=blueprint.width
        )
        self.fixed = frozenset(name for name, weight in self.named_parameters() if not weight.requires_grad)

    def _let_tower_pool(self) -> None:
        if not hasattr(self.tower, "pool"):
            kind = self.blueprint.tower["kind"]
            raise ConfigError("tower", f"{kind!r} has no `pool`", "give the dual encoder `pool: max`")
        if hasattr(self.tower, "check_pooling"):
            self.tower.check_pooling()
        # A tower freezes what its features do not need; pooling needs all of it.
        self.tower.requires_grad_(True)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.logit_scale.device

    def plan(self, size: tuple[int, int], frames: int) -> Plan:
        """What will be cut from a clip.

        Args:
            size: (height, width) of the file, in pixels.
            frames: How many are decoded.
        """
        plan: Plan = self.resolution.plan(size, frames)
        return plan

    def cut(self, pixels: Tensor) -> Tensor:
        """The view of one decoded clip: [T, H, W, 3] uint8 -> [1, T, 3, h, w]."""
        (view,) = self.resolution.cut(pixels, self.plan((pixels.shape[1], pixels.shape[2]), len(pixels)))
        assert isinstance(view, Tensor)
        return view.unsqueeze(0)

    def encode_video(self, views: Tensor) -> Tensor:
        """Vectors of clips.

        Args:
            views: [N, T, 3, h, w] uint8, or floats in 0..255.

        Returns:
            [N, E] of unit length.
        """
        return self.stand_for(self.tower(views))

    def stand_for(self, seen: Features) -> Tensor:
        """The vectors that stand for clips, from what the tower saw of them.

        Args:
            seen: Of N clips.

        Returns:
            [N, E] of unit length: the mean over the frames, where the tower pools each by itself.
        """
        each = F.normalize(self.visual_projection(self._pool(seen)), dim=-1)
        return F.normalize(each.mean(dim=1), dim=-1)

    def _pool(self, seen: Features) -> Tensor:
        """[N, T or 1, C]: what stands for clips, or for each of their frames."""
        if self.blueprint.pool == "max":
            return seen.x.flatten(1, 3).amax(dim=1, keepdim=True)
        pooled: Tensor = self.tower.pool(seen)
        return pooled

    def project_cells(self, cells: Tensor) -> Tensor:
        """Bring every patch to the space in which clips and texts meet, as if it stood for the clip alone.

        Args:
            cells: [N, P, C] as the tower's last layer leaves them.

        Returns:
            [N, P, E], not of unit length.
        """
        alone = cells.flatten(0, 1)
        pooled = self._pool(Features(alone[:, None, None, None], extra=alone[:, None]))
        projected: Tensor = self.visual_projection(pooled)
        return projected.reshape(*cells.shape[:2], -1)

    def encode_text(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Vectors of texts.

        Args:
            ids: [N, L] long, each text with its end mark, which has the largest id.
            mask: [N, L], 1 where a token is real; needed only where padding stands in front.

        Returns:
            [N, E] of unit length.

        Raises:
            ConfigError: If the texts are too long for the text tower.
        """
        return F.normalize(self.text_projection(self.text(ids, mask)), dim=-1)

    def similarity(self, videos: Tensor, texts: Tensor) -> Tensor:
        """Scaled cosines.

        Args:
            videos: [N, E] of unit length.
            texts: [M, E] of unit length.

        Returns:
            [N, M] logits.
        """
        return self.logit_scale.exp() * videos @ texts.T

    def forward(self, views: Tensor, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits of every clip with every text, [N, M]; the arguments are those of the two encoders."""
        return self.similarity(self.encode_video(views), self.encode_text(ids, mask))
