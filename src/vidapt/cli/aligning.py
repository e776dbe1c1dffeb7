"""`vidapt interpolate` and `vidapt report`: what aligning a tower gained, and what it lost."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidapt.cli._options import Device, Json, LabelFormat, Workers
from vidapt.cli._show import numbers, plain_errors, remark, say, table
from vidapt.errors import ConfigError

if TYPE_CHECKING:
    from vidapt.recipe import DataSource
    from vidapt.training.align.ends import Ends
    from vidapt.training.sweep.swept import Gauge, Swept

HALF = 0.5
PAGE = "report.html"


class Lacks(StrEnum):
    """What a model that was tuned may lack."""

    image_clip = "image_clip"
    short_clip = "short_clip"


def interpolate(
    models: Annotated[
        list[str],
        typer.Argument(metavar="[START] TUNED", help="The run that tuned it knows START by itself."),
    ],
    out: Annotated[Path | None, typer.Option(help="A new folder for the model between.")] = None,
    share: Annotated[
        float | None, typer.Option(help="Of the tuned model: 0 is START, 1 is TUNED; 0.5 by default.")
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(help="Measure shares, such as 0,0.25,0.5,0.75,1; --out takes the best."),
    ] = None,
    in_domain: Annotated[
        Path | None, typer.Option(help="Labels to measure on; those of TUNED's run by default.")
    ] = None,
    general: Annotated[
        Path | None, typer.Option(help="Labels of what should not be forgotten; the run's by default.")
    ] = None,
    types: Annotated[list[str] | None, typer.Option(help="Only these question types of them.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many clips of each.")] = None,
    labels: LabelFormat = None,
    accept: Annotated[
        list[Lacks] | None, typer.Option(help="What START may lack; as the run's recipe says by default.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="The curves as HTML; report.html in TUNED's run by default.")
    ] = None,
    workers: Workers = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Average a tuned model with the one it began as; measure what is gained and lost (WiSE-FT)."""
    from vidapt.progress import progress

    with plain_errors():
        shares = None if sweep is None else numbers("--sweep", sweep)
        if shares is not None and share is not None:
            raise ConfigError("interpolate", "--share and --sweep exclude one another", "give one of them")
        if shares is None and out is None:
            raise ConfigError("interpolate", "there is nothing to do", "give --out, --sweep or both")
        from vidapt.training.align.ends import ends_of

        ends = ends_of(models, [lack.value for lack in accept or ()])
        if shares is None:
            assert out is not None
            _write(ends, out, HALF if share is None else share, as_json=as_json)
            return
        from vidapt.training.sweep.swept import sweep as measure

        given = _given({"in_domain": in_domain, "general": general}, types, limit, labels)
        gauge = _gauge(ends)
        with progress() as report:
            swept = measure(
                gauge, ends, shares, given, out=out, workers=workers, device=device, report=report
            )
        page = _write_page(swept, page)
    _show(swept, page, out, as_json=as_json)


def report_run(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    out: Annotated[
        Path | None, typer.Option(help="FILE.html; report.html in the run's folder by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw what a run gained in its domain and lost elsewhere, and how its losses fared."""
    with plain_errors():
        from vidapt.files import check_file, exists
        from vidapt.loading import RUN
        from vidapt.training.align.ends import read_recipe
        from vidapt.training.ready import aligns

        if exists(run / RUN) and not aligns(read_recipe(run)):
            _report_course(run, out or run / PAGE, as_json=as_json)
            return
        from vidapt.measure.alignment import read_alignment
        from vidapt.measure.alignment_page import write_alignment

        page = out or run / PAGE
        alignment = read_alignment(run)
        check_file(page)
        write_alignment(page, alignment)
    if as_json:
        typer.echo(json.dumps(alignment.to_dict()))
        return
    table(["stage", "set", "recall@1 at first", "at last", "best", "at step"], alignment.rows())
    for warning in alignment.warnings():
        remark(warning)
    say(page)


def _report_course(run: Path, page: Path, *, as_json: bool) -> None:
    """The same of a run that trained a language model."""
    from vidapt.files import check_file
    from vidapt.measure.course import HEAD, read_course, write_course

    course = read_course(run)
    check_file(page)
    write_course(page, course)
    if as_json:
        typer.echo(json.dumps(course.to_dict()))
        return
    table(HEAD, course.rows())
    say(page)


def _given(
    named: dict[str, Path | None], types: list[str] | None, limit: int | None, labels: str | None
) -> dict[str, list[DataSource]]:
    from vidapt.recipe import DataSource

    sets = {name: path for name, path in named.items() if path is not None}
    if (types or limit or labels) and not sets:
        raise ConfigError(
            "interpolate", "--types, --limit and --format are about --in-domain and --general", "add one"
        )
    for path in sets.values():
        if not path.exists():
            raise ConfigError(path, "is not there", "give a label file")
    only = tuple(types) if types else None
    return {
        name: [DataSource(path=path, types=only, limit=limit, format=labels)] for name, path in sets.items()
    }


def _write(ends: Ends, out: Path, share: float, *, as_json: bool) -> None:
    from vidapt.training.align.interpolate import interpolate as write

    write(ends, out, share)
    if as_json:
        typer.echo(json.dumps({"start": ends.start, "tuned": ends.tuned, "share": share, "out": str(out)}))
        return
    say(out)


def _gauge(ends: Ends) -> Gauge[Any, Any]:
    """How models of this kind are measured."""
    if ends.talk:
        from vidapt.training.sweep.answers import Answers

        return Answers()
    from vidapt.training.sweep.retrieval import Retrieving

    return Retrieving(ends)


def _write_page(swept: Swept[Any, Any], page: Path | None) -> Path | None:
    """Draw a sweep; a run's page shows its training as well."""
    run = swept.ends.run
    if page is None and run is not None:
        page = run / PAGE
    if page is None:
        return None
    if swept.ends.talk:
        from vidapt.measure.course import course_of, write_course

        write_course(page, course_of(run, swept.to_dict()))
    else:
        from vidapt.measure.alignment import alignment_of
        from vidapt.measure.alignment_page import write_alignment

        write_alignment(page, alignment_of(run, swept.to_dict()))
    return page


def _show(swept: Swept[Any, Any], page: Path | None, out: Path | None, *, as_json: bool) -> None:
    if as_json:
        places = {"out": out and str(out), "page": page and str(page)}
        typer.echo(json.dumps(swept.to_dict() | places, ensure_ascii=False))
        return
    table(list(swept.gauge.head), swept.rows())
    for clip, reason in swept.broken.items():
        remark(f"left out: {clip.path}: {reason}")
    say(f"best share: {swept.best:g} ({swept.gauge.rule})")
    for place in (out, page):
        if place is not None:
            say(place)
