"""Whether a stage can be carried out with a model, before any stage is begun."""

from __future__ import annotations

from vidapt.errors import ConfigError
from vidapt.recipe import Stage
from vidapt.training.freeze import Model, check_trainable
from vidapt.training.optimizer import check_optimizer


def check_stage(model: Model, stage: Stage) -> None:
    """See that a model has what a stage wants to learn, and that what it learns by is installed.

    Raises:
        ConfigError: Naming the stage, and what is not so.
    """
    try:
        check_trainable(model, stage.train)
        check_optimizer(stage.optimizer)
    except ConfigError as error:
        raise ConfigError(f"stage {stage.name}, {error.where}", error.found, error.remedy) from error
