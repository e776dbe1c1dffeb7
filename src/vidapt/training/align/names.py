"""Names of what an alignment leaves in a run's folder. Importing this module imports no torch."""

from __future__ import annotations

BEST = "best-"
"""The best model by a set lies in the stage's folder, under this and the set's name."""

SWEEP = "interpolation.json"
"""The newest sweep between the run's start and what it made of it."""
