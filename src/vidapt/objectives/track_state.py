"""Learn to follow things from a simulator's state: where each is, and what happened to it.

Only a world that knows its own state can use it (`worlds.billiards` writes the columns). It plays the part
that contrastive pre-training plays for CLIP: it gives the small default model eyes. Adapting to real
footage never uses it. The place term is the heat-map cross-entropy of keypoint detectors (Nibali et al.,
2018) with a regression of the position inside the cell.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.nouns import Grid
from vidapt.objectives._contract import Batch, Loss
from vidapt.parts import PartConfig

SHIRTS, POCKET_STATES, SIDES = 6, 8, 4


class Part(nn.Module):
    """Supervise a `track` connector by state."""

    class Config(PartConfig):
        """Options.

        Attributes:
            things: Balls whose state is known; they take the first slots, the player the next.
            window: Look at this many neighbouring frames only, which is cheaper, and learn places but not
                events; None looks at whole clips.
            place: Weight of the regression inside the cell.
            events: Weight of what happened.
        """

        things: int = Field(8, ge=1)
        window: int | None = Field(None, ge=1)
        place: float = Field(0.5, ge=0)
        events: float = Field(1.0, ge=0)

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.heads: _EventHeads | None = None
        self.shirt: nn.Linear | None = None
        self.needs_views = cfg.window is not None
        events = () if cfg.window else ("pocket", "first_hit", "hits", "cushions", "broken", "cushion_first")
        self.columns: tuple[str, ...] = ("tracks", "player", "shirt", *events)

    def prepare(self, model: Any) -> None:
        """Build the heads: of the shirt on the player's looks, of events on the model's visual tokens.

        Raises:
            ConfigError: If the model's connector has no track for each ball and the player.
        """
        if getattr(model.connector.cfg, "slots", 0) <= self.cfg.things:
            raise ConfigError(
                "objective track_state",
                f"needs a `track` connector of at least {self.cfg.things + 1} slots",
                "change the blueprint's connector, or the objective's `things`",
            )
        self.shirt = nn.Linear(model.connector.cfg.looks, SHIRTS)
        if not self.cfg.window:
            width = model.language.get_input_embeddings().embedding_dim
            self.heads = _EventHeads(width, self.cfg.things)

    def forward(self, model: Any, batch: Batch) -> Loss:
        """Sum over clips; the weight is their number.

        Args:
            model: With a `track` connector.
            batch: N clips, all stacked: views [N, T, 3, H, W] with a `window`, else features [N, T, h, w, C].
                Its truth, of K balls at R recorded moments: `tracks` [N, R, K, 3] (there or not, then x and
                y in 0..1), `player` [N, 2] (x, y), `shirt` [N]; without a window also `pocket` [N, K] (-1 is
                off the table, 0 stays), `first_hit` [N] (a ball, 0 is none), `hits` [N, K, K], `cushions`
                [N, K, 4], `broken` [N] and `cushion_first` [N].

        Returns:
            The loss, a scalar, and each of its terms.
        """
        tracks = batch.truth["tracks"]
        if self.cfg.window:
            ((views,),) = (cut.tensors for cut in batch.views)
            first = int(torch.randint(views.shape[1] - self.cfg.window + 1, ()))
            times = range(first, first + self.cfg.window)
            features = model.see(views[:, first : first + self.cfg.window])
            index = _frame_rows(tracks.shape[1], views.shape[1])[list(times)]
        else:
            ((features,),) = (seen.features for seen in batch.seen)
            index = _frame_rows(tracks.shape[1], features.grid.t)
        found = model.connector.tracks(features)
        parts = self._places(found, features.grid, _with_player(tracks[:, index], batch.truth["player"]))
        looks = found.looks[:, :, self.cfg.things].mean(1)
        assert self.shirt is not None
        parts["shirt"] = F.cross_entropy(self.shirt(looks), batch.truth["shirt"].long(), reduction="sum")
        if self.heads is not None:
            tokens = model.connect(features).x
            events = self.heads(tokens, batch.truth)
            parts |= {name: self.cfg.events * loss for name, loss in events.items()}
        total = sum(parts.values(), start=tracks.new_zeros((), dtype=torch.float32))
        return Loss(total, float(len(tracks)), {name: float(part.detach()) for name, part in parts.items()})

    def _places(self, found: Any, grid: Grid, truth: Tensor) -> dict[str, Tensor]:
        """Cross-entropy over cells and absence, and the distance inside the cell.

        `found` is what a `track` connector found, truth is [N, T, K, 3].
        """
        things = truth.shape[2]
        visible, place = truth[..., 0] > 0.5, truth[..., 1:].float()
        column = (place[..., 0] * grid.w).long().clamp(0, grid.w - 1)
        row = (place[..., 1] * grid.h).long().clamp(0, grid.h - 1)
        target = torch.where(visible, row * grid.w + column, grid.h * grid.w)
        logits = found.logits[..., :things].transpose(2, 3).flatten(0, 2)
        frames = truth.shape[1]
        cell = F.cross_entropy(logits, target.flatten(), reduction="sum") / frames
        size = torch.tensor([grid.w, grid.h], device=place.device)
        off = ((found.place[:, :, :things] - place) * size).abs().clamp_max(3.0).sum(-1)
        inside = (off * visible).sum() / frames
        return {"cell": cell, "place": self.cfg.place * inside}


class _EventHeads(nn.Module):
    """What happened, read from the visual tokens [N, n, D]."""

    def __init__(self, width: int, things: int) -> None:
        super().__init__()
        self.things = things
        self.pocket = nn.Linear(width, POCKET_STATES)
        self.cushions = nn.Linear(width, SIDES)
        self.struck_first = nn.Linear(width, 1)
        self.cue = nn.Linear(width, 2)
        self.shirt = nn.Linear(width, SHIRTS)
        self.hitter, self.struck = nn.Linear(width, 32), nn.Linear(width, 32)

    def forward(self, tokens: Tensor, truth: Any) -> dict[str, Tensor]:
        things, player = tokens[:, : self.things], tokens[:, self.things]
        first = self.struck_first(things).squeeze(-1)
        first = torch.cat([torch.zeros_like(first[:, :1]), first[:, 1:]], dim=1)
        pairs = self.hitter(things) @ self.struck(things).transpose(1, 2) / 32**0.5
        cue = self.cue(things[:, 0])
        return {
            "pocket": F.cross_entropy(
                self.pocket(things).flatten(0, 1), (truth["pocket"].long() + 1).flatten(), reduction="sum"
            ),
            "first_hit": F.cross_entropy(first, truth["first_hit"].long(), reduction="sum"),
            "hits": 0.5 * _binary(pairs, truth["hits"]),
            "cushions": 0.5 * _binary(self.cushions(things), truth["cushions"]),
            "cue": _binary(cue, torch.stack([truth["broken"], truth["cushion_first"]], dim=1)),
            "shirt_token": F.cross_entropy(self.shirt(player), truth["shirt"].long(), reduction="sum"),
        }


def _with_player(tracks: Tensor, player: Tensor) -> Tensor:
    """Join the balls [N, T, K, 3] and the player [N, 2], who is always there, to [N, T, K + 1, 3]."""
    place = player[:, None, None].expand(-1, tracks.shape[1], 1, -1).to(tracks.dtype)
    return torch.cat([tracks, torch.cat([torch.ones_like(place[..., :1]), place], -1)], dim=2)


def _binary(logits: Tensor, truth: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, truth.to(logits.dtype), reduction="sum")


def _frame_rows(recorded: int, used: int) -> Tensor:
    """Rows of the recorded state at the middle of each of `used` equal stretches of time."""
    return ((torch.arange(used) + 0.5) * recorded / used).long()


def tiny() -> Part:
    """The smallest sensible instance."""
    return Part(Part.Config(things=2))
