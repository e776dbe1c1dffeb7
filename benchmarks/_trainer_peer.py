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
from peft import LoraConfig, PeftModel, get_peft_model
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
from vidapt.planning.weightless import Account

BATCH, ACCUMULATE = 2, 2
QUESTIONS_PER_STEP = BATCH * ACCUMULATE
RATE = 1e-4
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


def build(work: Work, adapter: Path | None = None) -> Any:
    """The model with adapters, new ones or those of a folder, and a free projector."""
    model = LlavaNextVideoForConditionalGeneration.from_pretrained(work.checkpoint, dtype=torch.float32)
    model.requires_grad_(False)
    if adapter is not None:
        return PeftModel.from_pretrained(model, adapter, is_trainable=True)
    adapted = LoraConfig(
        r=16, lora_alpha=32, target_modules=_LINEAR, modules_to_save=["multi_modal_projector"]
    )
    return get_peft_model(model, adapted)


def save_adapter(work: Work, folder: Path) -> Path:
    """New adapters that every side can begin with; seed 0."""
    torch.manual_seed(0)
    build(work).save_pretrained(folder)
    return folder


def losses(work: Work, adapter: Path, steps: int, rate: float) -> list[float]:
    """Of steps that all see the first clip's questions, at one rate."""
    trainer = _train(
        work,
        Trainer,
        work.rows()[: work.sizes.questions],
        adapter=adapter,
        max_steps=steps,
        gradient_accumulation_steps=work.sizes.questions // BATCH,
        learning_rate=rate,
        lr_scheduler_type="constant",
        logging_strategy="steps",
        logging_steps=1,
        use_cpu=True,
    )
    return [float(told["loss"]) for told in trainer.state.log_history if "loss" in told]


def run(work: Work, steps: int, clock: Callable[[], float], *, bf16: bool = False) -> list[float]:
    """Train; returns the clock after every step."""
    mark = _Mark(clock)
    changes = {"use_cpu": not bf16, "bf16": bf16}
    _train(work, Trainer, work.rows(), callbacks=[mark], max_steps=steps, **changes)
    return mark.marks


class _Accounted(Trainer):
    """Counts the memory and the tokens of its steps."""

    taken: list[tuple[int, int]]

    def training_step(self, model: Any, inputs: dict[str, Tensor], *rest: Any) -> Tensor:
        """A step, with its inputs held as they are until it ends."""
        with Account() as account:
            for tensor in inputs.values():
                account.hold(tensor)
            loss = super().training_step(model, inputs, *rest)
        self.taken.append((account.peak, int(inputs["attention_mask"].sum())))
        return loss


def peak_memory(work: Work, questions: int) -> tuple[int, int]:
    """Bytes at most of a step of questions of different clips, all at once; its tokens. See `_accounted`."""
    trainer = _train(
        work,
        _Accounted,
        work.rows()[:: work.sizes.questions][:questions],
        before=lambda made: setattr(made, "taken", []),
        max_steps=1,
        per_device_train_batch_size=questions,
        gradient_accumulation_steps=1,
        use_cpu=True,
    )
    return max(trainer.taken)


def _train(
    work: Work,
    kind: type[Trainer],
    rows: Sequence[dict[str, str]],
    adapter: Path | None = None,
    before: Callable[[Any], None] = lambda made: None,
    callbacks: Sequence[TrainerCallback] = (),
    **changes: Any,
) -> Any:
    """A trainer once it has trained."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "per_device_train_batch_size": BATCH,
            "gradient_accumulation_steps": ACCUMULATE,
            "learning_rate": RATE,
            "remove_unused_columns": False,
            "save_strategy": "no",
            "logging_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            **changes,
        }
        trainer = kind(
            model=build(work, adapter),
            args=TrainingArguments(output_dir=folder, **settings),
            train_dataset=rows,  # type: ignore[arg-type]
            data_collator=Collator(work),
            callbacks=list(callbacks),
        )
        before(trainer)
        trainer.train()
    return trainer


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
