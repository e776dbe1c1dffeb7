"""What `vidapt caption` does with its options: who writes, into what, and what is told of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from vidapt.cli._options import NumberFormat
from vidapt.cli._show import plain_errors, remark, say, table, tell
from vidapt.errors import BrokenClip, ConfigError, VidaptError

if TYPE_CHECKING:
    from vidapt.captioning.cluster import OnRay
    from vidapt.captioning.engines.protocol import CaptionEngine
    from vidapt.captioning.places import Place
    from vidapt.captioning.store.shape import Schema
    from vidapt.captioning.store.summary import StoreSummary
    from vidapt.chat.remote import Remote
    from vidapt.inference.engine import Engine

BITS: dict[int, Literal[4, 8]] = {4: 4, 8: 8}
_RAY, _BUILTIN = "ray", "builtin"


@dataclass(frozen=True)
class Writer:
    """Who writes captions, as options say it.

    Attributes:
        model: A model, or a file that describes a server.
        engine: `builtin`, `ray`, or a file that describes a server.
        device: Where a model runs.
        dtype: Number format of its weights.
        bits: Of its language model's matrices.
        max_tokens: Longest caption.
    """

    model: str
    engine: str
    device: str
    dtype: NumberFormat | None
    bits: int | None
    max_tokens: int

    @cached_property
    def server(self) -> Remote | None:
        """The server that is asked, read before anything is opened.

        Raises:
            ConfigError: If there is no such file, or it is wrong.
        """
        from vidapt.captioning.engines.open import server_of

        return server_of(self.model, _BUILTIN if self.engine == _RAY else self.engine)

    def opened(self, out: Place) -> CaptionEngine[Any]:
        """Whoever writes, ready to."""
        from vidapt.captioning.engines.open import open_engine

        return open_engine(self.model, self.server, out, self.opened_model)

    def opened_model(self) -> Engine:
        """The model alone."""
        return open_model(self.model, self.device, self.dtype, self.bits)


@dataclass(frozen=True)
class OnCluster:
    """Options of a Ray cluster.

    Attributes:
        address: Of the cluster.
        actors: How many processes.
        gpus: Of each.
    """

    address: str | None
    actors: int | None
    gpus: float

    def checked(self, engine: str) -> OnRay | None:
        """What is asked of Ray; None where it is not.

        Raises:
            ConfigError: If Ray is not installed, or what is asked cannot be.
        """
        if engine != _RAY:
            given = {"--ray-address": self.address, "--actors": self.actors, "--gpus-per-actor": self.gpus}
            for option, value in given.items():
                if value:
                    raise ConfigError(option, "is for a Ray cluster", "add --engine ray, or leave it out")
            return None
        from vidapt.captioning.cluster import OnRay

        on = OnRay(self.address, self.actors, self.gpus)
        on.check()
        return on


def open_model(model: str, device: str, dtype: NumberFormat | None, bits: int | None) -> Engine:
    """Open a model; what became of a published checkpoint's tensors is told on the error stream."""
    from vidapt.inference.load import load
    from vidapt.loading import number_format

    if bits is not None and bits not in BITS:
        raise ConfigError("--bits", f"{bits} bits are not offered", "use 4 or 8")

    engine = load(model, dtype and dtype.value, device, tell, None if bits is None else BITS[bits])
    if dtype is None and str(number_format(device)) != "torch.float32":
        typer.secho(f"answers in {str(number_format(device))[6:]}; see --dtype", err=True, dim=True)
    return engine


def check_asked(what: str, asked: Sequence[str]) -> None:
    """Refuse questions without words."""
    if not all(text.strip() for text in asked):
        raise ConfigError(what, "is empty", "give what the model is to be asked")


def check_ways(chunk: str | None, overlap: float, n: int, diversity: str | None) -> None:
    """Refuse ways to cut films, and to say several things of a clip, that cannot be."""
    from vidapt.captioning.chunks import Cutting

    Cutting.of(chunk, overlap)
    if n == 1 and diversity is None:
        return
    from vidapt.inference.diversity import PLAIN, diversity_of

    way = diversity_of(diversity or PLAIN)
    way.check(n)
    if way.cues is not None:
        from vidapt.formats import shards_of

        shards_of(way.cues.labels)


@dataclass(frozen=True)
class Into:
    """Where captions go.

    Attributes:
        out: A folder, or a file.
        to: Further files.
        shard: Which part of the work is done, such as `1/4`.
        overwrite: Replace whatever a file holds.
    """

    out: Place
    to: Sequence[str]
    shard: str | None
    overwrite: bool

    def checked(self) -> dict[str, Any]:
        """The same for `caption_store`, looked at before a model is opened.

        Raises:
            ConfigError: If one of them cannot be.
        """
        from vidapt.captioning.places import place_of
        from vidapt.captioning.rows import check_target
        from vidapt.captioning.store.outputs import check_outputs
        from vidapt.captioning.store.remote import store_at

        part, outputs = _part(self.shard), [place_of(one) for one in self.to]
        if isinstance(self.out, Path) and self.out.suffix and not os.path.isdir(self.out):  # noqa: PTH112
            check_target(self.out)
        store = store_at(self.out, overwrite=self.overwrite)
        store.check()
        check_outputs(store, outputs)
        return {"part": part, "outputs": outputs, "overwrite": self.overwrite}


def schema_of(path: Path | None) -> Schema | None:
    """The schema that a file holds."""
    from vidapt.captioning.store.shape import Schema

    return None if path is None else Schema.read(path)


def _part(shard: str | None) -> tuple[int, int]:
    from vidapt.captioning.store.work import check_part

    if shard is None:
        return 1, 1
    numbers = shard.split("/")
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise ConfigError("--shard", f"is {shard!r}", "give 1/4, 2/4, ... for four processes")
    part = (int(numbers[0]), int(numbers[1]))
    check_part(part)
    return part


def caption_into(
    writer: Writer, sources: Sequence[Place], out: Place, how: dict[str, Any], on: OnRay | None
) -> StoreSummary:
    """Caption here or on a cluster."""
    from vidapt.captioning.store.work import caption_store
    from vidapt.models.decoding import Decoding
    from vidapt.progress import progress

    how = how | {"decoding": Decoding(max_new_tokens=writer.max_tokens)}
    given = sources[0] if len(sources) == 1 else sources
    writer.server  # noqa: B018 - what is wrong with its file is told before a model is opened
    if on is not None:
        from vidapt.captioning.cluster import caption_on_ray

        if how.pop("part") != (1, 1):
            raise ConfigError("--shard", "is what actors divide among themselves", "leave it out")
        with progress() as report:
            return caption_on_ray(partial(writer.opened, out), given, out, on=on, report=report, **how)
    with closing(writer.opened(out)) as engine, progress() as report:
        return caption_store(engine, given, out, report=report, **how)


def tell_stored(summary: StoreSummary, as_json: bool) -> None:
    """Say what was done, and how well the device was kept busy."""
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        columns = [
            "captioned",
            "kept",
            "failed",
            "copies",
            "left",
            "clips/s",
            "of the limit",
            "waited",
            "seconds",
        ]
        table(columns, [summary.row()])
        for path in summary.outputs:
            say(path)
    if summary.ignored:
        remark(f"ignored, as they are no clips: {_counted(summary.ignored)}")
    if summary.left_out:
        remark(f"whole files only; left out: {_counted(summary.left_out)}")
    if summary.idle:
        remark(f"{summary.idle} actors had nothing to do: the clips are {summary.shards} shards")
    if summary.left:
        remark(f"{summary.left} of {summary.inputs} clips are in shards of other processes, or not begun")
    where = summary.quarantine or next(iter(summary.outputs), summary.out)
    wrong = _counted(summary.errors)
    if summary.failed:
        remark(f"{summary.failed} failed{f' ({wrong})' if wrong else ''}; the reasons are in {where}")
    if summary.failed == summary.inputs:
        broken = summary.errors.keys() <= {BrokenClip.__name__}
        told = f"all {summary.failed} clips are broken" if broken else f"no clip has a caption: {wrong}"
        with plain_errors():
            raise VidaptError(where, told, "read the reasons there")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what or 'without an ending'}" for what, count in counts.items())
