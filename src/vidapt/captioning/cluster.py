"""A store captioned by actors on a Ray cluster: Ray starts them and tells who is lost, the store commits.

An actor is one process that works on the store as any other does: nothing of a clip goes through Ray. It
begins with shards of its own and then takes what nobody holds. The shards of a lost one are taken over at
once: Ray tells this process that it is gone, and what it held is freed before its heartbeat is missed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.captioning.crew import Crew
from vidapt.captioning.engines.protocol import CaptionEngine
from vidapt.captioning.places import Place, absolute, as_place
from vidapt.captioning.store.summary import StoreSummary
from vidapt.errors import ConfigError
from vidapt.progress import Reporter, silent

MOST_ACTORS, MOST_DEVICES = 10_000, 1024


@dataclass(frozen=True)
class OnRay:
    """How a store is divided among actors.

    Attributes:
        address: Of the cluster; `auto` finds the one that this machine belongs to, None starts one here.
        actors: How many; None is one for each set of GPUs, or one for each machine where none are asked for.
        gpus: GPUs of each; a part of one where several share it.
        cpus: Cores that Ray keeps free for each.
    """

    address: str | None = None
    actors: int | None = None
    gpus: float = 0.0
    cpus: float = 1.0

    def check(self) -> None:
        """Refuse what cannot be, before a model is opened.

        Raises:
            ConfigError: If a number is out of bounds, or Ray is not installed.
        """
        if self.actors is not None and not 1 <= self.actors <= MOST_ACTORS:
            raise ConfigError("--actors", f"is {self.actors}", f"give 1 to {MOST_ACTORS:,}")
        for option, value in (("--gpus-per-actor", self.gpus), ("--cpus-per-actor", self.cpus)):
            if not 0 <= value <= MOST_DEVICES:
                raise ConfigError(option, f"is {value:g}", f"give 0 to {MOST_DEVICES}")
        _ray()


def caption_on_ray(
    open_engine: Callable[[], CaptionEngine[Any]],
    sources: Place | Sequence[Place],
    out: Place,
    *,
    on: OnRay | None = None,
    report: Reporter = silent,
    **how: Any,
) -> StoreSummary:
    """Caption a store by actors; the rows are those of `caption_store`.

    Args:
        open_engine: Opens the model in an actor; what it needs must be found on every machine.
        sources: As `caption_store` has it; seen by every machine.
        out: The same.
        on: How it is divided.
        report: Told how far all of them are.
        how: Further options of `caption_store`, but `part`; `again` holds in any case, as for a whole job.

    Returns:
        What all of them did; rows by actors that were lost count as kept.

    Raises:
        ConfigError: If Ray is not installed or cannot be reached, or an option cannot be.
        VidaptError: What one of them raises, or if they are lost again and again.
    """
    on = on or OnRay()
    on.check()
    ray = _ray()
    began = not ray.is_initialized()
    if began:
        _begin(ray, on)
    given = [sources] if isinstance(sources, Path | str) else sources
    places = [as_place(absolute(one)) for one in given]
    where, folder = as_place(absolute(out)), str(Path.cwd())
    how.pop("again", None)
    job = (open_engine, places[0] if len(places) == 1 else places, where, how, folder)
    crew = Crew(ray, out, report, job, on.actors, on.gpus, on.cpus)
    try:
        return crew.run()
    finally:
        crew.end()
        if began:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--engine ray", "Ray is not installed", "pip install 'vidapt[scale]'") from error
    return ray


def _begin(ray: Any, on: OnRay) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if on.address is None:
        options |= {"include_dashboard": False, "num_cpus": None}
    try:
        # Without an address Ray would join whatever cluster somebody has begun on this machine.
        ray.init(address=on.address or "local", **options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = "start one (ray start --head), or leave the address out for one on this machine"
        raise ConfigError("--ray-address", f"no cluster can be reached: {said}", remedy) from error
