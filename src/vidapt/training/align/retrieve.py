"""How well a dual encoder finds clips by texts and texts by clips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vidapt.metrics.retrieval import BothWays
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_text import padded
from vidapt.training.align.batch import stacked_views
from vidapt.training.align.captions import ClipCaptions
from vidapt.training.footage import Footage


@torch.no_grad()
def cosines(
    model: DualEncoder, footage: Footage, clips: Sequence[ClipCaptions], together: int
) -> tuple[Tensor, list[int]]:
    """How close every clip is to every text.

    Args:
        model: In evaluation mode.
        footage: Gives views; where it keeps features, they are used.
        clips: N clips with M captions in all.
        together: Clips, and texts, computed at once.

    Returns:
        [N, M] cosines in float64, and [M] the clip of each text.
    """
    about = [number for number, clip in enumerate(clips) for _ in clip.ids]
    texts = text_vectors(model, [ids for clip in clips for ids in clip.ids], together)
    return clip_vectors(model, footage, clips, together) @ texts.T, about


@torch.no_grad()
def clip_vectors(
    model: DualEncoder,
    footage: Footage,
    clips: Sequence[ClipCaptions],
    together: int,
    *,
    shuffled: bool = False,
) -> Tensor:
    """[N, E] of clips, in float64.

    Args:
        model: In evaluation mode.
        footage: Gives views; where it keeps features, they are used.
        clips: N of them.
        together: How many are computed at once.
        shuffled: Their frames in another order, the same for all; for footage that gives views.
    """
    parts = (clips[at : at + together] for at in range(0, len(clips), together))
    return torch.cat([_videos(model, footage, some, shuffled=shuffled) for some in parts])


@torch.no_grad()
def text_vectors(model: DualEncoder, rows: Sequence[Sequence[int]], together: int) -> Tensor:
    """[M, E] of texts as token ids, in float64."""
    return torch.cat([_texts(model, rows[at : at + together]) for at in range(0, len(rows), together)])


def score_of(found: BothWays) -> tuple[float, float]:
    """Mean recall at 1, and the mean rank to tell equals apart; higher is better."""
    ways = (found.to_text, found.to_video)
    return sum(way.recall[1] for way in ways) / 2, -sum(way.mean_rank for way in ways) / 2


def _videos(model: DualEncoder, footage: Footage, clips: Sequence[ClipCaptions], *, shuffled: bool) -> Tensor:
    items = [(clip.media[0], 1) for clip in clips]
    if footage.keeps == "features":
        seen = [one.features[0] for one in footage.seen(items)]
        return torch.cat([model.stand_for(one) for one in seen]).cpu().double()
    views = stacked_views(footage, items).to(model.device)
    if shuffled:
        views = views[:, torch.randperm(views.shape[1], generator=torch.Generator().manual_seed(0))]
    return model.encode_video(views).cpu().double()


def _texts(model: DualEncoder, rows: Sequence[Sequence[int]]) -> Tensor:
    return model.encode_text(padded(rows)[0].to(model.device)).cpu().double()
