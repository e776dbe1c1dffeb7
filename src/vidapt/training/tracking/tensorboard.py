"""TensorBoard: event files in the stage's folder."""

from __future__ import annotations

from collections.abc import Mapping

from torch.utils.tensorboard import SummaryWriter

from vidapt.training.tracking.trackers import Tracked

NEEDS = "tensorboard"


class Part:
    """Writes event files."""

    def __init__(self, tracked: Tracked) -> None:
        folder = tracked.folder / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=tracked.done or None)

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """One scalar for each number."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is pending."""
        self._writer.close()
