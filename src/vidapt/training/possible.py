"""Whether a stage can be carried out with a model, before any stage is begun."""

from __future__ import annotations

from vidapt.errors import ConfigError
from vidapt.models.dual_encoder import DualEncoder
from vidapt.recipe import Stage
from vidapt.training.base import check_base
from vidapt.training.freeze import Model, check_trainable
from vidapt.training.optimizer import check_optimizer


def check_stage(model: Model, stage: Stage) -> None:
    """See that a model has what a stage wants to learn, and that what it learns by is installed.

    Raises:
        ConfigError: Naming the stage, and what is not so.
    """
    try:
        if isinstance(model, DualEncoder):
            _refuse_language(stage)
        check_trainable(model, stage.train)
        check_optimizer(stage.optimizer)
        check_base(stage)
    except ConfigError as error:
        raise ConfigError(f"stage {stage.name}, {error.where}", error.found, error.remedy) from error


def _refuse_language(stage: Stage) -> None:
    """A dual encoder has no language model."""
    if stage.tokens is not None:
        raise ConfigError("tokens", "are those of a language model", "give `samples`, `steps` or `epochs`")
    if stage.train.base != "stored":
        raise ConfigError("train.base", "is that of a language model", "leave it out")
