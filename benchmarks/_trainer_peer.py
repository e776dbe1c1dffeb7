"""A plain transformers Trainer on the same work, written as its users write it.

One question per sample; the collator decodes the sample's clip with PyAV and repeats the video token, since
the model's own processor needs torchvision or torchcodec. LoRA by peft on the language model, the whole
projector, and a frozen tower, as in vidapt's arms.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import (
    LlavaNextVideoForConditionalGeneration,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from _packing_work import PATCH, STRIDE, VIDEO_TOKEN, Work
from vidapt.hub._prompts import VICUNA

BATCH, ACCUMULATE = 2, 2
QUESTIONS_PER_STEP = BATCH * ACCUMULATE
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_LINEAR = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


class Collator:
    """Samples to tensors.

    Args:
        work: Where the clips lie and how large the input is.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(work.checkpoint)
        cells = work.sizes.side // PATCH // STRIDE
        self.visual = [self._id(VIDEO_TOKEN)] * (work.sizes.frames * cells * cells)

    def __call__(self, samples: Sequence[dict[str, str]]) -> dict[str, Tensor]:
        """Pad token ids on the right and stack the clips' pixels."""
        ids, labels = zip(*(self._text(sample) for sample in samples), strict=True)
        length = max(map(len, ids))
        pad = self.tokenizer.pad_token_id
        return {
            "input_ids": torch.tensor([row + [pad] * (length - len(row)) for row in ids]),
            "labels": torch.tensor([row + [-100] * (length - len(row)) for row in labels]),
            "attention_mask": torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids]),
            "pixel_values_videos": torch.stack([self._pixels(sample["video"]) for sample in samples]),
        }

    def _text(self, sample: dict[str, str]) -> tuple[list[int], list[int]]:
        before = self._ids(f"{VICUNA.start}USER: ") + self.visual
        asked = before + self._ids(f"\n{sample['question']} ASSISTANT:")
        answer = self._ids(f"{sample['answer']}</s>")
        return asked + answer, [-100] * len(asked) + answer

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _id(self, token: str) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(token))

    def _pixels(self, name: str) -> Tensor:
        """[T, 3, side, side] float: evenly spaced frames, short side resized, centre cropped, normalised."""
        side = self.work.sizes.side
        frames = torch.from_numpy(_decode(self.work.labels.parent / name, self.work.sizes.frames))
        pixels = frames.permute(0, 3, 1, 2).float()
        scale = side / min(pixels.shape[-2:])
        size = (round(pixels.shape[-2] * scale), int(pixels.shape[-1] * scale))
        pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 255).round()
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        pixels = pixels[..., top : top + side, left : left + side] / 255
        return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def _decode(path: Path, count: int) -> np.ndarray:
    """[T, H, W, 3] uint8, as the model's documentation decodes: everything up to the last frame needed."""
    with av.open(str(path)) as container:
        total = container.streams.video[0].frames
        wanted = set(np.linspace(0, total - 1, count).round().astype(int).tolist())
        decoded = enumerate(container.decode(video=0))
        return np.stack([frame.to_ndarray(format="rgb24") for index, frame in decoded if index in wanted])


class _Mark(TrainerCallback):
    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.marks = clock, list[float]()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.marks.append(self.clock())


def build(work: Work) -> Any:
    """The model with adapters and a free projector."""
    model = LlavaNextVideoForConditionalGeneration.from_pretrained(work.checkpoint, dtype=torch.float32)
    model.requires_grad_(False)
    adapted = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=_LINEAR))
    for name, weight in adapted.named_parameters():
        if ".multi_modal_projector." in name:
            weight.requires_grad_(True)
    return adapted


def run(work: Work, steps: int, clock: Callable[[], float], *, bf16: bool = False) -> list[float]:
    """Train; returns the clock after every step."""
    mark = _Mark(clock)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=ACCUMULATE,
            max_steps=steps,
            learning_rate=1e-4,
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            dataloader_pin_memory=False,
            use_cpu=not bf16,
            bf16=bf16,
        )
        rows = work.rows()
        trainer = Trainer(
            model=build(work),
            args=settings,
            train_dataset=rows,  # type: ignore[arg-type]
            data_collator=Collator(work),
            callbacks=[mark],
        )
        trainer.train()
    return mark.marks


@torch.no_grad()
def loss(work: Work, rows: Sequence[dict[str, str]]) -> float:
    """Mean cross-entropy per label of the untrained model."""
    model, collate = build(work).eval(), Collator(work)
    total, count = 0.0, 0
    for row in rows:
        batch = collate([row])
        labels = int((batch["labels"] != -100).sum())
        total += float(model(**batch).loss) * labels
        count += labels
    return total / count
