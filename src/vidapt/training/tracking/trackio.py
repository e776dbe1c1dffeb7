"""Trackio: a local dashboard in its own folder."""

from __future__ import annotations

from collections.abc import Mapping

from vidapt.training.tracking.trackers import Tracked

NEEDS = "trackio"


class Part:
    """A run of trackio for each stage."""

    def __init__(self, tracked: Tracked) -> None:
        import trackio

        self._run = trackio.init(
            project=tracked.run,
            name=f"{tracked.stage} from step {tracked.done}",
            config={"recipe": tracked.run},
            embed=False,
        )

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Numbers of a step."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """Write what is pending."""
        self._run.finish()
