"""Where the numbers of a run go beside its own files: one module for each library, of its name."""

from vidapt.training.tracking.trackers import Tracked, Trackers, check_trackers, open_trackers

__all__ = ["Tracked", "Trackers", "check_trackers", "open_trackers"]
