"""MLflow; where MLFLOW_TRACKING_URI is not set, into a SQLite file in the stage's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping

from vidapt.training.tracking.trackers import Tracked

NEEDS = "mlflow"


class Part:
    """A run of MLflow for each stage."""

    def __init__(self, tracked: Tracked) -> None:
        from mlflow import MlflowClient

        tracked.folder.mkdir(parents=True, exist_ok=True)
        own = f"sqlite:///{(tracked.folder / 'mlflow.db').resolve()}"
        self._client = MlflowClient(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", own))
        known = self._client.get_experiment_by_name(tracked.run)
        experiment = known.experiment_id if known else self._client.create_experiment(tracked.run)
        self._id = self._client.create_run(experiment, run_name=f"{tracked.run}/{tracked.stage}").info.run_id
        self._client.set_tag(self._id, "steps_done_before", str(tracked.done))

    def log(self, numbers: Mapping[str, float], step: int) -> None:
        """Numbers of a step."""
        for name, value in numbers.items():
            self._client.log_metric(self._id, name, value, step=step)

    def close(self) -> None:
        """The stage is over, or was stopped."""
        self._client.set_terminated(self._id)
