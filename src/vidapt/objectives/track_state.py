"""Learn to follow things from a simulator's state: where each is, and what happened to it.

Only a world that knows its own state can use it (each in `worlds` writes columns of its own). It plays the
part that contrastive pre-training plays for CLIP: it gives the small default model eyes. Adapting to real
footage never uses it. The place term is the heat-map cross-entropy of keypoint detectors (Nibali et al.,
2018) with a regression of the position inside the cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.nouns import Grid
from vidapt.objectives._contract import Batch, Loss
from vidapt.parts import PartConfig

SHIRTS = 6
_PAIR = 32
"""Numbers by which two things are compared."""

Classes = Annotated[int, Field(ge=1)]


class Part(nn.Module):
    """Supervise a `track` connector by state."""

    class Config(PartConfig):
        """Options; what is read from which column is that of billiards unless it is said.

        Attributes:
            things: Things whose state is known, such as balls; they take the first slots.
            window: Look at this many neighbouring frames only, which is cheaper, and learn places and looks
                but not events; None looks at whole clips.
            place: Weight of the regression inside the cell.
            events: Weight of what happened.
            actor: Whether somebody acts on them (`player`, `shirt`), who takes the next slot.
            looks: What things look like, by column, each with its number of classes; -1 is none.
            states: What became of each thing, likewise; -1 counts as a class of its own.
            picks: Columns that name one thing of all; 0 is none.
            pairs: Columns that say of every two things whether something holds.
            marks: Columns that say so many things of each thing.
            facts: Columns that say something of the clip, read from its first thing.
        """

        things: int = Field(8, ge=1)
        window: int | None = Field(None, ge=1)
        place: float = Field(0.5, ge=0)
        events: float = Field(1.0, ge=0)
        actor: bool = True
        looks: dict[str, Classes] = Field(default_factory=dict)
        states: dict[str, Classes] = Field(default_factory=lambda: {"pocket": 8})
        picks: tuple[str, ...] = ("first_hit",)
        pairs: tuple[str, ...] = ("hits",)
        marks: dict[str, Classes] = Field(default_factory=lambda: {"cushions": 4})
        facts: tuple[str, ...] = ("broken", "cushion_first")

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.heads: _EventHeads | None = None
        self.shirt: nn.Linear | None = None
        self.looks = nn.ModuleDict()
        self.needs_views = cfg.window is not None
        events = () if cfg.window else (*cfg.states, *cfg.picks, *cfg.pairs, *cfg.marks, *cfg.facts)
        actor = ("player", "shirt") if cfg.actor else ()
        self.columns: tuple[str, ...] = ("tracks", *actor, *cfg.looks, *events)

    def prepare(self, model: Any) -> None:
        """Build the heads: of looks on what slots see, of events on the model's visual tokens.

        Raises:
            ConfigError: If the model's connector has no track for each thing and the actor.
        """
        needed = self.cfg.things + self.cfg.actor
        if getattr(model.connector.cfg, "slots", 0) < needed:
            raise ConfigError(
                "objective track_state",
                f"needs a `track` connector of at least {needed} slots",
                "change the blueprint's connector, or the objective's `things`",
            )
        width = model.connector.cfg.looks
        self.shirt = nn.Linear(width, SHIRTS) if self.cfg.actor else None
        self.looks = nn.ModuleDict({name: nn.Linear(width, n) for name, n in self.cfg.looks.items()})
        if not self.cfg.window:
            self.heads = _EventHeads(model.language.get_input_embeddings().embedding_dim, self.cfg)

    def forward(self, model: Any, batch: Batch) -> Loss:
        """Sum over clips; the weight is their number.

        Args:
            model: With a `track` connector.
            batch: N clips, all stacked: views [N, T, 3, H, W] with a `window`, else features [N, T, h, w, C].
                Its truth, of K things at R recorded moments: `tracks` [N, R, K, 3] (there or not, then x
                and y in 0..1); with an actor `player` [N, 2] (x, y) and `shirt` [N]; `looks` [N, K], class
                numbers; without a window also `states` [N, K], `picks` [N], `pairs` [N, K, K], `marks`
                [N, K, n] and `facts` [N].

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
        known = tracks[:, index]
        parts = {"looks": self._looks(found, known, batch.truth)} if self.looks else {}
        if self.shirt is not None:
            looks = found.looks[:, :, self.cfg.things].mean(1)
            parts["shirt"] = F.cross_entropy(self.shirt(looks), batch.truth["shirt"].long(), reduction="sum")
            known = _with_player(known, batch.truth["player"])
        parts |= self._places(found, features.grid, known)
        if self.heads is not None:
            tokens = model.connect(features).x
            events = self.heads(tokens, batch.truth)
            parts |= {name: self.cfg.events * loss for name, loss in events.items()}
        total = sum(parts.values(), start=tracks.new_zeros((), dtype=torch.float32))
        return Loss(total, float(len(tracks)), {name: float(part.detach()) for name, part in parts.items()})

    def _looks(self, found: Any, known: Tensor, truth: Any) -> Tensor:
        """Classes of each thing's looks, on average over the frames in which it is there ([N, T, K, 3])."""
        there = (known[..., :1] > 0.5).to(found.looks.dtype)
        seen = found.looks[:, :, : self.cfg.things]
        mean = (seen * there).sum(1) / there.sum(1).clamp_min(1)
        return sum(
            (_classes(head(mean), truth[name].long()) for name, head in self.looks.items()),
            start=mean.new_zeros(()),
        )

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

    def __init__(self, width: int, cfg: Part.Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.states = _linears(width, cfg.states)
        self.marks = _linears(width, cfg.marks)
        self.looks = _linears(width, cfg.looks)
        self.picks = _linears(width, dict.fromkeys(cfg.picks, 1))
        self.facts = nn.Linear(width, len(cfg.facts)) if cfg.facts else None
        self.shirt = nn.Linear(width, SHIRTS) if cfg.actor else None
        self.by, self.of = (_linears(width, dict.fromkeys(cfg.pairs, _PAIR)) for _ in range(2))

    def forward(self, tokens: Tensor, truth: Any) -> dict[str, Tensor]:
        """The loss of each column; those of `looks` and of `facts` are joined."""
        things = tokens[:, : self.cfg.things]
        parts = {name: _classes(head(things), truth[name].long() + 1) for name, head in self.states.items()}
        for name, head in self.picks.items():
            score = head(things).squeeze(-1)
            score = torch.cat([torch.zeros_like(score[:, :1]), score[:, 1:]], dim=1)
            parts[name] = F.cross_entropy(score, truth[name].long(), reduction="sum")
        for name, head in self.by.items():
            scores = head(things) @ self.of[name](things).transpose(1, 2) / _PAIR**0.5
            parts[name] = 0.5 * _binary(scores, truth[name])
        for name, head in self.marks.items():
            parts[name] = 0.5 * _binary(head(things), truth[name])
        if self.looks:
            each = [_classes(head(things), truth[name].long()) for name, head in self.looks.items()]
            parts["look_tokens"] = torch.stack(each).sum()
        if self.facts is not None:
            known = torch.stack([truth[name] for name in self.cfg.facts], dim=1)
            parts["facts"] = _binary(self.facts(things[:, 0]), known)
        if self.shirt is not None:
            worn = self.shirt(tokens[:, self.cfg.things])
            parts["shirt_token"] = F.cross_entropy(worn, truth["shirt"].long(), reduction="sum")
        return parts


def _linears(width: int, sizes: Mapping[str, int]) -> nn.ModuleDict:
    return nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})


def _classes(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of [N, K, classes] with [N, K], where -1 is left out; summed over both."""
    return F.cross_entropy(logits.flatten(0, 1), truth.flatten(), ignore_index=-1, reduction="sum")


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
