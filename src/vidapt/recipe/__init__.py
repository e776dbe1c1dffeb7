"""What a user writes: a model and its training as data.

Importing this room imports no torch; validating a blueprint's parts does.
"""

from vidapt.recipe.blueprint import Blueprint, Prompt, Spec
from vidapt.recipe.dual import DualBlueprint, DualParts, Pairing, RetrievalSet, Text, TextPart
from vidapt.recipe.learning import (
    Average,
    Batching,
    Cache,
    Last,
    LayerDecay,
    Learns,
    LoRA,
    Optimizer,
    Rates,
    Trained,
)
from vidapt.recipe.mixing import Mix, Sizes
from vidapt.recipe.prune import Prune
from vidapt.recipe.read import load_recipe, missing_files
from vidapt.recipe.reads import Reads
from vidapt.recipe.recipe import Recipe, fingerprint
from vidapt.recipe.stage import DataSource, Sources, Stage
from vidapt.recipe.time_text import Scene, TimeText
from vidapt.recipe.unsupported import Unsupported
from vidapt.strict import Strict, Weights

__all__ = [
    "Average",
    "Batching",
    "Blueprint",
    "Cache",
    "DataSource",
    "DualBlueprint",
    "DualParts",
    "Last",
    "LayerDecay",
    "Learns",
    "LoRA",
    "Mix",
    "Optimizer",
    "Pairing",
    "Prompt",
    "Prune",
    "Rates",
    "Reads",
    "Recipe",
    "RetrievalSet",
    "Scene",
    "Sizes",
    "Sources",
    "Spec",
    "Stage",
    "Strict",
    "Text",
    "TextPart",
    "TimeText",
    "Trained",
    "Unsupported",
    "Weights",
    "fingerprint",
    "load_recipe",
    "missing_files",
]
