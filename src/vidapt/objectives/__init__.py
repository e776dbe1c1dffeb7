"""Training objectives: where a model and a batch become a loss.

Beside the parts, which are found by their names, this room offers what an objective receives and returns
(`Batch`, `Loss`), what a term of `align` does (`Pairs`, `Term`), and `principal`, by which Long-CLIP matches
short captions.
"""

from vidapt.objectives._contract import Batch, Loss
from vidapt.objectives._pairs import Pairs, Term
from vidapt.objectives._principal import principal

__all__ = ["Batch", "Loss", "Pairs", "Term", "principal"]
