"""The work that every arm of `packing.py` and `gpu.py` does: clips, questions, and one checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from vidapt.hub._prompts import VICUNA
from vidapt.training.tokenizer import learn_tokenizer
from vidapt.video import write_mp4

PATCH, STRIDE = 14, 2
VIDEO_TOKEN = "<video>"
HEIGHT, WIDTH, RATE = 360, 640, 25
WAY = 50
"""Different frames of a film."""

_COLOURS = ("red", "blue", "green", "yellow", "white", "black", "orange", "purple")
_THINGS = ("ball", "disc", "square", "player", "cue", "table", "shadow", "corner")
_MOVES = ("crosses", "touches", "follows", "hides", "passes", "leaves", "enters", "stops beside")
_WHEN = ("at the start", "in the middle", "near the end", "twice", "before the cut", "after a while")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the work.

    Attributes:
        visual_tokens: Per clip; frames * (side / patch / stride)^2.
        clips: Different clips.
        questions: Per clip.
        seconds: Length of a clip; WebVid's, on which video models are tuned, last 18 on average.
        frames: Frames read of a clip.
        tower_width: Width of the CLIP tower.
        tower_layers: Its layers.
        width: Width of the language model.
        layers: Its layers.
        vocabulary: Its vocabulary.
    """

    visual_tokens: int
    clips: int = 12
    questions: int = 8
    seconds: float = 20.0
    frames: int = 16
    tower_width: int = 128
    tower_layers: int = 4
    width: int = 256
    layers: int = 4
    vocabulary: int = 2048

    @property
    def side(self) -> int:
        """Side of the tower's input in pixels."""
        cells = round((self.visual_tokens / self.frames) ** 0.5)
        assert cells * cells * self.frames == self.visual_tokens
        return cells * STRIDE * PATCH


@dataclass(frozen=True)
class Work:
    """What was made.

    Attributes:
        sizes: Of what.
        labels: A vidapt JSONL file; the clips lie beside it.
        checkpoint: A LLaVA-NeXT-Video checkpoint as transformers saves it, with a tokenizer.
    """

    sizes: Sizes
    labels: Path
    checkpoint: Path

    def rows(self) -> list[dict[str, str]]:
        """One dict per question: `video`, `question` and `answer`."""
        return [json.loads(line) for line in self.labels.read_text(encoding="utf-8").splitlines()]

    def describe(self) -> dict[str, object]:
        """Sizes and the mean number of text tokens behind the clip, for the record."""
        tokenizer = PreTrainedTokenizerFast.from_pretrained(self.checkpoint)
        texts = [f"{row['question']} ASSISTANT:{row['answer']}</s>" for row in self.rows()]
        lengths = [len(tokenizer(text, add_special_tokens=False).input_ids) for text in texts]
        return {**asdict(self.sizes), "side": self.sizes.side, "text_tokens": float(np.mean(lengths))}


def make_work(folder: Path, sizes: Sizes, name: str = "") -> Work:
    """Film the clips, write the questions, and make a random checkpoint, unless they are there.

    Args:
        folder: Where all of it lies; works of as many clips share them.
        sizes: Of what.
        name: Of the checkpoint; that of its number of visual tokens if empty.
    """
    clips = folder / "clips"
    clips.mkdir(parents=True, exist_ok=True)
    labels = clips / "labels.jsonl"
    if not labels.exists():
        rng = np.random.default_rng(0)
        for index in range(sizes.clips):
            write_mp4(clips / f"{index}.mp4", film(rng, round(sizes.seconds * RATE)), RATE)
        rows = (row for index in range(sizes.clips) for row in _questions(rng, index, sizes.questions))
        labels.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    checkpoint = folder / f"checkpoint-{name or sizes.visual_tokens}"
    work = Work(sizes, labels, checkpoint)
    if not checkpoint.exists():
        _save_checkpoint(work)
    return work


def film(rng: np.random.Generator, frames: int) -> NDArray[np.uint8]:
    """[T, H, W, 3] uint8: four discs on crossing paths over a drifting texture, forth and back."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    texture = rng.integers(40, 160, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    start = rng.uniform(0.2, 0.8, (4, 2)) * (HEIGHT, WIDTH)
    speed = rng.uniform(-3, 3, (4, 2))
    colour = rng.integers(0, 255, (4, 3), dtype=np.uint8)
    way = np.empty((WAY, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for time in range(WAY):
        way[time] = np.roll(texture, (time // 3, time), axis=(0, 1))
        for place, velocity, paint in zip(start, speed, colour, strict=True):
            y, x = (place + time * velocity) % (HEIGHT, WIDTH)
            way[time][(rows - y) ** 2 + (columns - x) ** 2 < 24**2] = paint
    times = np.arange(frames) % (2 * WAY)
    return way[np.minimum(times, 2 * WAY - 1 - times)]


def _questions(rng: np.random.Generator, clip: int, count: int) -> Iterator[dict[str, str]]:
    def pick(words: tuple[str, ...]) -> str:
        return str(rng.choice(words))

    for _ in range(count):
        first, second = f"{pick(_COLOURS)} {pick(_THINGS)}", f"{pick(_COLOURS)} {pick(_THINGS)}"
        yield {
            "video": f"{clip}.mp4",
            "question": f"what does the {first} do when it meets the {second} {pick(_WHEN)}?",
            "answer": f"the {first} {pick(_MOVES)} the {second} {pick(_WHEN)}.",
        }


def _save_checkpoint(work: Work) -> None:
    sizes = work.sizes
    texts = [text for row in work.rows() for text in (row["question"], row["answer"], VICUNA.start)]
    tokenizer = learn_tokenizer(texts, VICUNA, sizes.vocabulary - 1)
    tokenizer.add_tokens([VIDEO_TOKEN], special_tokens=True)
    video = tokenizer.convert_tokens_to_ids(VIDEO_TOKEN)
    tower = CLIPVisionConfig(
        hidden_size=sizes.tower_width,
        intermediate_size=4 * sizes.tower_width,
        num_hidden_layers=sizes.tower_layers,
        num_attention_heads=sizes.tower_width // 32,
        image_size=sizes.side,
        patch_size=PATCH,
        projection_dim=sizes.tower_width,
    )
    language = LlamaConfig(
        hidden_size=sizes.width,
        intermediate_size=sizes.width * 11 // 4,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.width // 64,
        num_key_value_heads=sizes.width // 64,
        vocab_size=sizes.vocabulary,
        max_position_embeddings=4096,
    )
    config = LlavaNextVideoConfig(
        vision_config=tower,
        text_config=language,
        # Both sides compute every layer of the tower; LLaVA's -2 would spare ours the last one.
        vision_feature_layer=-1,
        image_token_index=video,
        video_token_index=video,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    LlavaNextVideoForConditionalGeneration(config).save_pretrained(work.checkpoint)
    tokenizer.save_pretrained(work.checkpoint)
