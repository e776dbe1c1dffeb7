"""One update of the weights: whole or not at all, in as many portions as fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from vidapt.errors import BudgetError
from vidapt.models.memory import is_out_of_memory
from vidapt.models.video_lm import VideoLM
from vidapt.objectives import Loss
from vidapt.training.faults import Fault, module_at_fault, weight_at_fault
from vidapt.training.freeze import Model, towards_loss, trainable
from vidapt.training.portions import learn_from
from vidapt.training.ranks import Learner
from vidapt.training.work import StageWork

_Chance = tuple[Tensor, Tensor | None]
"""The states of the generators that dropout and the like draw from: the CPU's, and the device's."""


class _NotFiniteError(ArithmeticError):
    """A loss, or the length of a gradient, is not finite."""


class Stepper:
    """Takes the steps of a stage.

    Args:
        model: What learns; parts already frozen and freed.
        work: The stage.
        optimizer: Changes the weights.
    """

    def __init__(self, model: Model, work: StageWork, optimizer: torch.optim.Optimizer) -> None:
        self._model, self._work, self._optimizer = model, work, optimizer
        self._own = Learner(model, work.objective)
        self._learner = work.ranks.wrap(self._own)
        self._weights = dict(trainable(model, work.objective))
        self._portion, self._chance = 0, self._drawn()

    def take(self, number: int) -> dict[str, float] | Fault | None:
        """One update.

        Args:
            number: Of the step, counted from 0.

        Returns:
            The loss per label, of how many labels, and its components; what was not finite, if the weights
            were left as they are for that; None if there was nothing to learn from.

        Raises:
            BudgetError: If a clip does not fit into memory even alone; or the step does not, and the stage's
                portions are given; or what the optimizer keeps does not.
        """
        found = self._gradient(number)
        return self._update(number, found) if isinstance(found, Loss) else found

    def _gradient(self, number: int) -> Loss | Fault | None:
        """Give the weights a step's gradient, in portions that fit."""
        begun = self._drawn()
        while True:
            batches = self._work.batches(number)
            if not batches:
                return None
            size = max(map(len, batches)) if self._work.room is not None else 0
            try:
                return self._learned(batches)
            except _NotFiniteError as error:
                return self._fault(number, str(error))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self._work.room is None:
                    raise self._too_much(number) from error
            # What was computed is let go with the error, before it is tried again.
            self._make_room(number, size)
            self._draw(begun)

    def _learned(self, batches: list[Any]) -> Loss:
        self._optimizer.zero_grad()
        self._portion = -1
        weights = list(self._weights.values())
        loss = learn_from(batches, self._loss, self._lower, _check_loss, weights, self._work.ranks.weigh)
        length = clipped(weights, self._work.stage.optimizer.clip_norm)
        if not torch.isfinite(length):
            raise _NotFiniteError(f"the gradient's length is {float(length)}")
        return loss

    def _update(self, number: int, loss: Loss) -> dict[str, float]:
        """Change the weights; gives what is told of the step."""
        try:
            self._optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            # Some weights may have changed already: the step cannot be done again, whatever its portions.
            raise BudgetError(
                f"stage {self._work.stage.name}, step {number + 1}",
                "what the optimizer keeps does not fit into memory",
                "use `optimizer.kind: adamw_8bit` or adamw_offload, or let less learn, such as by `lora`",
            ) from error
        after = getattr(self._work.objective, "after_step", None)
        if after is not None:
            after(self._model)
        return {
            "loss": float(loss.total / loss.weight),
            "loss/weight": loss.weight,
            **{name: value / loss.weight for name, value in loss.parts.items()},
        }

    def _loss(self, batch: Any) -> Loss:
        self._portion += 1
        self._chance = self._drawn()
        loss = self._learner(batch)
        assert isinstance(loss, Loss)
        return loss

    def _lower(self) -> AbstractContextManager[Any]:
        halves = self._work.stage.precision == "bfloat16"
        return torch.autocast(self._model.device.type, torch.bfloat16) if halves else nullcontext()

    def _fault(self, number: int, found: str) -> Fault:
        """What is at fault. Chance goes on as if nobody had looked."""
        where = weight_at_fault(towards_loss(self._model, self._weights))
        if not where:
            after, at = self._drawn(), self._portion
            self._draw(self._chance)
            batch = self._work.batches(number)[at]

            def again() -> None:
                with self._lower():
                    self._own(batch)

            where = module_at_fault(self._own, again)
            self._draw(after)
        self._optimizer.zero_grad()
        return Fault(found, where)

    def _make_room(self, number: int, size: int) -> None:
        room = self._work.room
        assert room is not None
        self._optimizer.zero_grad()
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
        if size == 1:
            alone = self._work.batches(number)[max(self._portion, 0)]
            raise BudgetError(
                f"stage {self._work.stage.name}, step {number + 1}",
                f"{alone} does not fit into memory even alone",
                "use `recompute: true`, fewer `questions`, fewer frames, or a smaller `base`",
            )
        room.halve(number, size, self._work.tell)

    def _too_much(self, number: int) -> BudgetError:
        """What to do about a step that does not fit."""
        stage = self._work.stage
        portions = isinstance(self._model, VideoLM)  # what compares clips compares them all
        auto = f"go on with --resume --set stages.{self._work.index}.batching.memory=auto, or "
        return BudgetError(
            f"stage {stage.name}, step {number + 1}",
            "does not fit into memory",
            (auto if portions else "") + "use `recompute: true`, or fewer `batching.clips`",
        )

    def _drawn(self) -> _Chance:
        device = self._model.device
        return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def _draw(self, chance: _Chance) -> None:
        torch.set_rng_state(chance[0])
        if chance[1] is not None:
            torch.cuda.set_rng_state(chance[1], self._model.device)


def clipped(weights: Sequence[nn.Parameter], longest: float | None) -> Tensor:
    """The gradient's length, before it is shortened."""
    if longest is not None:
        return torch.nn.utils.clip_grad_norm_(weights, longest)
    return torch.nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])


def _check_loss(mean: Tensor) -> None:
    if not torch.isfinite(mean):
        raise _NotFiniteError(f"the loss is {float(mean.detach())}")
