"""What a model attends to in one clip, as a map over the frames with its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidapt.errors import BrokenClip, ConfigError
from vidapt.measure.look.area import Area, area_of
from vidapt.measure.look.draw import LONG_SIDE, Panel, Pixels, stretched
from vidapt.measure.look.noise import Noise, noise
from vidapt.models.attention_maps import TowerMaps, tower_maps, walk
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_text import text_ids
from vidapt.models.video_lm import VideoLM
from vidapt.models.word_maps import word_map
from vidapt.nouns import Clip, Features, Frames, Views
from vidapt.video import Policy, decode, probe

ALL = 0
"""Number of a slot that stands for all of them."""


@dataclass(frozen=True)
class Wanted:
    """Which map is wanted.

    Attributes:
        layer: Counted from 1, or from the end; None is the last.
        head: Counted from 1; None is the average.
        token: Whose attention: see `TowerMaps.pick`.
        rollout: Follow the attention through all layers up to this one.
        word: Instead, where a word is; for dual encoders. It may be several words.
        text: A text in which the word stands, because a word's state depends on those before it; None is
            the word alone.
        level: At which level of both towers the word is compared.
        slot: Instead, where a slot of a `track` connector looks, counted from 1; `ALL` is all of them. This
            is also what is shown when nothing else is asked of a model with such a connector.
    """

    layer: int | None = None
    head: int | None = None
    token: str | None = None
    rollout: bool = False
    word: str | None = None
    text: str | None = None
    level: str = "projected"
    slot: int | None = None

    def __post_init__(self) -> None:
        asked = {"--word": self.word is not None, "--slot": self.slot is not None, _ATTENTION: self.attention}
        given = [name for name, is_given in asked.items() if is_given]
        if len(given) > 1:
            raise ConfigError(given[0], f"does not go with {given[1]}", "ask for one map at a time")
        if self.word is not None and not self.word.strip():
            raise ConfigError("--word", "is empty", "give a word")
        if self.text is not None and self.word is None:
            raise ConfigError("--text", "needs --word", "say which of its words is looked for")

    @property
    def attention(self) -> bool:
        """Whether something is asked that only attention has."""
        return self.rollout or any(one is not None for one in (self.layer, self.head, self.token))


_ATTENTION = "--layer, --head, --token or --rollout"


@dataclass(frozen=True)
class Looked:
    """A model's map of a clip.

    Attributes:
        model: Its name.
        shown: Which map it is, in words.
        weights: [T, h, w], not negative.
        noise: How clean the map is.
        table: The same numbers for every layer and head, or for every slot.
        frames: [T, H, W, 3] uint8, to draw on.
        times_s: [T].
        area: What part of the frames the map covers.
    """

    model: str
    shown: str
    weights: Tensor
    noise: Noise
    table: tuple[dict[str, Any], ...]
    frames: Pixels
    times_s: NDArray[np.float64]
    area: Area

    def panel(self) -> Panel:
        """For the picture."""
        heat = stretched(self.weights.double().cpu().numpy())
        lines = (self.model, self.shown, self.noise.line())
        return Panel(lines, self.frames, self.times_s, heat, self.area)

    def row(self) -> list[str]:
        """For a table."""
        found = self.noise
        return [self.model, self.shown, f"{found.entropy:.3f}", f"{100 * found.high_norm:.1f} %"]

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"model": self.model, "map": self.shown, **_numbers(self.noise), "table": list(self.table)}


@dataclass(frozen=True)
class _Map:
    shown: str
    weights: Tensor
    norms: Tensor
    table: tuple[dict[str, Any], ...]


def look_at(
    clip: Path, model: VideoLM | DualEncoder, tokenizer: Any, name: str, wanted: Wanted | None = None
) -> Looked:
    """Look at a clip through a model's eyes.

    Args:
        clip: A video, a picture or a folder of pictures, of which the model's own frames are read.
        model: In evaluation mode.
        tokenizer: Its tokenizer; needed for words only.
        name: What to call the model.
        wanted: Which map; None is the default of each model.

    Raises:
        BrokenClip: If the clip cannot be used.
        ConfigError: If the model has no such map.
    """
    source, policy = Clip(id=clip.stem, path=clip), model.blueprint.frames
    read, drawn = _decoded(source, policy, model)
    return look_at_frames(clip, read, drawn, model, tokenizer, name, wanted)


def look_at_frames(
    clip: Path,
    read: Pixels,
    drawn: Frames,
    model: VideoLM | DualEncoder,
    tokenizer: Any,
    name: str,
    wanted: Wanted | None = None,
) -> Looked:
    """The same for a clip that is decoded already.

    Args:
        clip: Named in errors.
        read: [T, H, W, 3] uint8, as the model reads them.
        drawn: The same frames, to draw on; they may be larger.
        model: See `look_at`.
        tokenizer: See `look_at`.
        name: See `look_at`.
        wanted: See `look_at`.

    Raises:
        BrokenClip: If the frames do not fit the model.
        ConfigError: If the model has no such map.
    """
    wanted = wanted or Wanted()
    try:
        views, index = _views(model, torch.from_numpy(read))
    except ValueError as error:
        raise BrokenClip(clip, str(error)) from error
    found = _map(model, tokenizer, views, index, wanted)

    def cut(pixels: Tensor) -> Tensor:
        return _views(model, pixels)[0].tensors[index][0]

    area = area_of(cut, (read.shape[1], read.shape[2]), len(read))
    return Looked(
        model=name,
        shown=found.shown,
        weights=found.weights.float().cpu(),
        noise=noise(found.weights, found.norms),
        table=found.table,
        frames=drawn.pixels,
        times_s=drawn.times_s,
        area=area,
    )


def _decoded(clip: Clip, policy: Policy, model: Any) -> tuple[Pixels, Frames]:
    """Pixels as the model reads them, and frames to draw on: larger ones, where the model's are small."""
    size = getattr(model, "decode_size", None)
    if size is None:
        drawn = decode(clip, policy)
        return drawn.pixels, drawn
    described = probe(clip.path)
    scale = min(1.0, LONG_SIDE / max(described.height, described.width))
    shown = (max(1, round(described.height * scale)), max(1, round(described.width * scale)))
    return decode(clip, policy, size=size).pixels, decode(clip, policy, size=shown)


def _views(model: VideoLM | DualEncoder, pixels: Tensor) -> tuple[Views, int]:
    """Views of the clip, and the first of them whose tower can be shown (the first, where none can)."""
    if isinstance(model, DualEncoder):
        plan = model.plan((pixels.shape[1], pixels.shape[2]), len(pixels))
        return Views((model.cut(pixels),), plan), 0
    views = model.cut(pixels)
    shown = [i for i, view in enumerate(views.plan.views) if _has_attention(model.towers[view.tower])]
    return views, shown[0] if shown else 0


def _has_attention(tower: Any) -> bool:
    return walk.dispatch(type(tower)) is not walk.dispatch(object)


def _map(model: Any, tokenizer: Any, views: Views, index: int, wanted: Wanted) -> _Map:
    tensor = views.tensors[index].to(model.device)
    if wanted.word is not None:
        return _word(model, tokenizer, tensor, wanted.word, wanted)
    tracks = hasattr(getattr(model, "connector", None), "tracks")
    if wanted.slot is not None and not tracks:
        raise ConfigError("--slot", "the model's connector has no slots", "leave it out to see attention")
    if tracks and not wanted.attention:
        return _slots(model, views, wanted.slot or ALL)
    tower = model.tower if isinstance(model, DualEncoder) else model.towers[views.plan.views[index].tower]
    return _attention(tower_maps(tower, tensor), wanted)


def _attention(maps: TowerMaps, wanted: Wanted) -> _Map:
    layer = -1 if wanted.layer is None else wanted.layer
    weights = maps.pick(layer, wanted.head, wanted.token, rollout=wanted.rollout)
    token = wanted.token or maps.default_token()
    number = layer if layer > 0 else len(maps.layers) + 1 + layer
    heads = f"head {wanted.head}" if wanted.head else f"mean of {maps.heads} heads"
    whose = "received" if token == "received" else f"from {token}"
    shown = f"rollout to layer {number}, {whose}" if wanted.rollout else f"layer {number}, {heads}, {whose}"
    table = []
    for at in range(1, len(maps.layers) + 1):
        rolled = maps.pick(at, token=token, rollout=True)
        table.append({"layer": at, "head": "rollout", **_numbers(noise(rolled, maps.norms))})
        for head in (None, *range(1, maps.heads + 1)):
            one = maps.pick(at, head, token)
            table.append({"layer": at, "head": head or "mean", **_numbers(noise(one, maps.norms))})
    return _Map(shown, weights, maps.norms, tuple(table))


@torch.inference_mode()
def _slots(model: VideoLM, views: Views, slot: int) -> _Map:
    seen = model.see_views(Views(tuple(t.to(model.device) for t in views.tensors), views.plan))
    resolution = model.resolution_for(views.plan.frames)
    ((features, *_), *_) = resolution.stitch(seen.features, views.plan)
    tracks = model.connector.tracks(features)
    grid = features.grid
    # The last choice is that the thing is absent.
    heat = tracks.logits[0].softmax(1)[:, :-1].movedim(-1, 0).reshape(-1, grid.t, grid.h, grid.w)
    norms = _norms(model, views, features)
    if not 0 <= slot <= len(heat):
        known = f"use a number from 1 to {len(heat)}, or 0 for all"
        raise ConfigError("--slot", f"there is no slot {slot}", known)
    table = tuple(
        {
            "slot": number,
            "present": float(tracks.presence[0, :, number - 1].mean()),
            **_numbers(noise(one, norms)),
        }
        for number, one in enumerate(heat, start=1)
    )
    if slot == ALL:
        return _Map(f"all {len(heat)} slots", heat.sum(0), norms, table)
    return _Map(f"slot {slot} of {len(heat)}", heat[slot - 1], norms, table)


def _norms(model: VideoLM, views: Views, features: Features) -> Tensor:
    """[T, h, w]: lengths of patches' states, if possible before a last norm makes them all alike."""
    cells = features.x[0]
    if len(views.tensors) == 1 and _has_attention(model.tower):
        path = walk(model.tower, views.tensors[0].to(model.device))
        *_, last = path.states()
        cells = path.cells(last)
    norms: Tensor = cells.norm(dim=-1)
    return norms


def _word(model: Any, tokenizer: Any, views: Tensor, word: str, wanted: Wanted) -> _Map:
    if not isinstance(model, DualEncoder):
        raise ConfigError("--word", "the model does not compare words with clips", "use a dual encoder")
    if tokenizer is None:
        remedy = "put its tokenizer's files beside the weights"
        raise ConfigError("--word", "the model has no tokenizer", remedy)
    ids, of = word_tokens(tokenizer, word, wanted.text)
    weights, norms = word_map(model, views, ids.to(model.device), of.to(model.device), wanted.level)
    return _Map(f"{word!r} at {wanted.level}", weights, norms, ())


def word_tokens(tokenizer: Any, word: str, text: str | None = None) -> tuple[Tensor, Tensor]:
    """A text, and which of its tokens are a word's.

    Args:
        tokenizer: A dual encoder's.
        word: One or several words.
        text: In which it stands, where it stands first; None is the word alone.

    Returns:
        [1, L] ids, and [L] bool.

    Raises:
        ConfigError: If the word is not in the text, or has no tokens.
    """
    text = word if text is None else text
    ids = text_ids(tokenizer, text)
    first = text.lower().find(word.lower())
    if first < 0:
        raise ConfigError("--word", f"{word!r} is not in {text!r}", "give a word of the text")
    found = tokenizer(text, add_special_tokens=True, return_offsets_mapping=True)
    if tuple(found.input_ids) != ids:
        raise ConfigError("--text", f"{text!r} holds a mark of this model's tokenizer", "leave it out")
    spans = found.offset_mapping
    last = first + len(word)
    of = torch.tensor([start < last and end > first and end > start for start, end in spans])
    if not of.any():
        raise ConfigError("--word", f"{word!r} has no tokens", "give another word")
    return torch.tensor([ids]), of


def _numbers(found: Noise) -> dict[str, Any]:
    return {
        "entropy": round(found.entropy, 6),
        "high_norm": round(found.high_norm, 6),
        "high_norm_patches": found.patches,
    }
