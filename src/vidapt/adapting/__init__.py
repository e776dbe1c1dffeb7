"""The whole job for a person who has footage and labels and no recipe: `vidapt adapt`.

>>> from vidapt.adapting import Request, adapt
>>> adapted = adapt(Request(Path("clips"), Path("train.json")), Path("adapted"))  # doctest: +SKIP
"""

from vidapt.adapting.decisions import Decision, Decisions
from vidapt.adapting.job import Places, Request
from vidapt.adapting.result import Adapted
from vidapt.adapting.run import Means, Talk, adapt

__all__ = ["Adapted", "Decision", "Decisions", "Means", "Places", "Request", "Talk", "adapt"]
