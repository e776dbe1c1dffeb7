"""Numbers of one dual encoder on the simulated world, each with the clip that it is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vidapt.files import write_file
from vidapt.hub import open_dual_encoder
from vidapt.labelling.cases import Case, read_cases
from vidapt.loading import locate_dual
from vidapt.measure.look import localisation, noise
from vidapt.measure.look.see import word_tokens
from vidapt.metrics.retrieval import retrieval
from vidapt.models.dual_encoder import DualEncoder
from vidapt.models.dual_text import text_ids
from vidapt.models.word_maps import word_map
from vidapt.nouns import Clip
from vidapt.video import decode

TRAINED = 1000
"""Clips of the club that may be learned from; those behind them are for measuring."""

MEASURED = 300
LOCATED = 60
RADIUS = 0.06
"""Of a picture's height: a patch whose middle is as near to a ball's is on the ball."""

Rows = list[dict[str, Any]]


class Seen:
    """A model and what it sees. All models of the study cut clips alike, so their views are kept.

    Args:
        name: A run, a folder or a shipped model.
        kept: Folder of clips as they were cut.
    """

    def __init__(self, name: str | Path, kept: Path) -> None:
        model, tokenizer, _ = open_dual_encoder(locate_dual(name))
        self.model: DualEncoder = model.eval()
        self.tokenizer, self._kept = tokenizer, kept
        self._clips: dict[Path, Tensor] = {}
        self._texts: dict[str, Tensor] = {}

    @torch.inference_mode()
    def clip(self, path: Path) -> Tensor:
        """[E]."""
        if path not in self._clips:
            self._clips[path] = self.model.encode_video(self.view(path))[0].double()
        return self._clips[path]

    def view(self, path: Path) -> Tensor:
        """[1, T, 3, h, w]."""
        file = self._kept / path.parents[1].name / f"{path.stem}.safetensors"
        if not file.exists():
            size = self.model.plan((144, 256), 1).decode
            frames = decode(Clip(path.stem, path), self.model.blueprint.frames, size=size)
            view = self.model.cut(torch.from_numpy(frames.pixels))
            write_file(file, lambda part: save_file({"view": view}, part))
        return load_file(file)["view"]

    @torch.inference_mode()
    def text(self, text: str) -> Tensor:
        """[E]."""
        if text not in self._texts:
            ids = torch.tensor([text_ids(self.tokenizer, text)])
            self._texts[text] = self.model.encode_text(ids)[0].double()
        return self._texts[text]


def measured(name: str | Path, pool: Path, levels: list[str], kept: Path) -> dict[str, Any]:
    """Everything about a model.

    Args:
        name: A run, a folder or a shipped model.
        pool: Holds the worlds `club` and `home-test`.
        levels: Of both towers, at which words are looked for.
        kept: Folder of clips as they were cut.
    """
    seen = Seen(name, kept)
    club = sorted((pool / "club" / "clips").glob("*.mp4"))[TRAINED : TRAINED + MEASURED]
    home = sorted((pool / "home-test" / "clips").glob("*.mp4"))
    rows: dict[str, Any] = {
        "in_domain": _retrieved(seen, pool / "club", club),
        "general": _retrieved(seen, pool / "home-test", home),
        "statements": _stated(seen, pool / "club", club),
    }
    rows |= {f"located/{level}": _located(seen, pool / "club", club[:LOCATED], level) for level in levels}
    log = _log(name)
    return {**rows, "log": log} if log else rows


def _trajectories(world: Path) -> dict[str, str]:
    """What is said at length of each clip."""
    rows = map(json.loads, (world / "labels.jsonl").read_text(encoding="utf-8").splitlines())
    return {Path(row["video"]).stem: row["answer"] for row in rows if row["facts"]["type"] == "trajectory"}


def _retrieved(seen: Seen, world: Path, clips: list[Path]) -> Rows:
    """Whether each clip's best text, and each text's best clip, is a right one."""
    said = _trajectories(world)
    texts = list(dict.fromkeys(said[path.stem] for path in clips))
    table = torch.stack([seen.clip(path) for path in clips]) @ torch.stack([seen.text(t) for t in texts]).T
    right = np.array([[said[path.stem] == text for text in texts] for path in clips])
    scores = table.numpy()
    rows = [
        {"clip": path.stem, "way": "to_text", "hit": _first(scores[i], right[i])}
        for i, path in enumerate(clips)
    ]
    return rows + [
        {"clip": f"text {i}", "way": "to_video", "hit": _first(scores[:, i], right[:, i])}
        for i in range(len(texts))
    ]


def _first(scores: Any, right: Any) -> float:
    return retrieval(scores[None], right[None]).recall[1]


def _stated(seen: Seen, world: Path, clips: list[Path]) -> Rows:
    """Pairs of a true and a false statement: whether the true one wins, and by how much.

    A model that prefers whatever is short would win all pairs of the kind `length`, so there is the
    reverse, too: `long` pairs all that is true with the first short statement that is not.
    """
    wanted, said = {path.stem for path in clips}, _trajectories(world)
    cases = [case for case in read_cases(world, count=6) if case.clip.path.stem in wanted]
    pairs = [(case.clip.path, case.kind, case.true[0], case.false[0]) for case in cases]
    short = {case.clip.path: case.false[0] for case in reversed(cases) if case.kind != "length"}
    pairs += [
        (path, "long", said[path.stem], false)
        for path, false in short.items()
        if said[path.stem].count(".") > 1
    ]
    rows = []
    for path, kind, true, false in pairs:
        video = seen.clip(path)
        margin = float(video @ seen.text(true) - video @ seen.text(false))
        rows.append(
            {"clip": path.stem, "kind": kind, "win": float(np.sign(margin)) / 2 + 0.5, "margin": margin}
        )
    return rows


def _located(seen: Seen, world: Path, clips: list[Path], level: str) -> Rows:
    """Of every ball that a true statement names: how much of its colour's map lies on it."""
    names = json.loads((world / "dataset.json").read_text(encoding="utf-8"))["balls"]
    tracks = load_file(world / "truth.safetensors")["tracks"].float()
    found: dict[tuple[str, str], Case] = {}
    wanted = {path.stem for path in clips}
    for case in read_cases(world, count=6):
        coloured = [name for name in names[1:] if name in case.true[0].split(".")[0].split()]
        if case.clip.path.stem in wanted and case.kind != "length" and len(coloured) == 1:
            found.setdefault((case.clip.path.stem, coloured[0]), case)
    rows = []
    for (stem, colour), case in found.items():
        ids, of = word_tokens(seen.tokenizer, colour, case.true[0])
        weights, norms = word_map(seen.model, seen.view(case.clip.path), ids, of, level)
        track = tracks[int(stem), :, names.index(colour)]
        at = ((torch.arange(len(weights)) + 0.5) * len(track) / len(weights)).long()
        one = localisation(weights, track[at], RADIUS, (144, 256))
        spread = noise(weights, norms)
        if one.frames:
            told = {"hits": one.hits, "chance": one.chance, "entropy": spread.entropy}
            rows.append({"clip": stem, **told, "high_norm": spread.high_norm})
    return rows


def _log(name: str | Path) -> dict[str, float]:
    """The last logged numbers of a run."""
    files = sorted(Path(name).glob("*/*/metrics.jsonl"))
    if not files:
        return {}
    rows = [json.loads(line) for line in files[-1].read_text(encoding="utf-8").splitlines()]
    last: dict[str, float] = {key: value for row in rows[-3:] for key, value in row.items()}
    return {key: value for key, value in last.items() if not key.startswith("rate/")}
