"""The command line: thin, and quick to start because every command imports what it needs when it runs."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from vidapt.cli import (
    ablating,
    adapting,
    aligning,
    captioning,
    cleaning,
    data,
    diversifying,
    evidence,
    gauging,
    labelling,
    looking_over,
    matching,
    measuring,
    models,
    parity,
    planning,
    probing,
    recipes,
    runs,
    serving,
    shortlisting,
    showing,
    training,
    worlds,
)
from vidapt.cli._show import plain_errors

app = typer.Typer(
    name="vidapt",
    help="Adapt a video-language model to your own footage, and measure what it sees and what it makes up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help: drawing boxes takes longer than all else together.
    rich_markup_mode=None,
)
simulate_app = typer.Typer(
    help="Make clips whose truth is known exactly.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(simulate_app, name="simulate")
simulate_app.command("billiards")(worlds.simulate_billiards)
simulate_app.command("conveyor")(worlds.simulate_conveyor)
simulate_app.command("shapes")(worlds.simulate_shapes)
data_app = typer.Typer(
    help="Check, count, divide, thin and freeze labels; cut films; write tasks of lmms-eval.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")
data_app.command("check")(data.check_data)
data_app.command("stats")(data.data_stats)
data_app.command("split")(data.split_data)
data_app.command("dedup")(data.dedup_data)
data_app.command("cut")(data.cut_data)
data_app.command("freeze")(looking_over.freeze)
data_app.command("tasks")(data.write_tasks)

# In the order in which `vidapt --help` lists them.
app.command(short_help="The whole job: footage and labels in, a model and a report out.")(adapting.adapt)
app.command(short_help="Have a model label clips: captions, facts, questions.")(labelling.label)
app.command(short_help="Set bad labels aside, with reasons.")(cleaning.clean)
app.command("evidence", short_help="Tell of every claim in labels whether a model sees it.")(
    evidence.evidence
)
app.command("look-over", short_help="Clips, labels and what models say, side by side in a browser.")(
    looking_over.look_over
)
app.command(short_help="The same page, of labels in dispute: keep, drop, edit.")(looking_over.review)
app.add_typer(recipes.app, name="recipes")
app.add_typer(runs.app, name="runs")
app.command(short_help="Tell what a recipe will cost, and what it could do better.")(planning.plan)
app.command()(training.train)
app.command("eval", short_help="Measure what a model sees and what it makes up.")(measuring.evaluate)
app.add_typer(gauging.app, name="gauges")
app.command(short_help="Rank models by what they see of your clips.")(shortlisting.shortlist)
app.command(short_help="Tell what tower and connector hold of what labels say.")(probing.probe)
app.command(short_help="Train a recipe without a stage or with other settings; compare.")(ablating.ablate)
app.command(short_help="Caption every clip of a folder: one row each.")(captioning.caption)
app.command(short_help="Compare ways to several captions: how different, how true.")(diversifying.diversity)
app.command(short_help="Answer questions about a clip, or about several together.")(captioning.ask)
app.command(short_help="Put models up behind OpenAI's interface.")(serving.serve)
app.command("serve-key", short_help="Make a key for who may ask a server.")(serving.serve_key)
app.command(short_help="Draw what models attend to over the frames.")(measuring.look)
app.command("match", short_help="Score statements against a clip, or a whole set.")(matching.match_statements)
app.command(short_help="Average a tuned model with its start; measure the way between.")(aligning.interpolate)
app.command("report", short_help="Draw what a run gained and lost.")(aligning.report_run)
app.command()(models.families)
app.command(short_help="Write a model for other tools.")(models.export)
app.command("parity", short_help="Compare prompts and answers with a server's.")(parity.compare_with)
app.command(short_help="Adapt the shipped model to a venue it has never seen.")(showing.demo)


def _tell_version(asked: bool) -> None:
    if asked:
        from vidapt.version import VERSION

        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def first(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version.")
    ] = False,
    trust: Annotated[
        list[str] | None,
        typer.Option(metavar="MODULE", help="Import this module of yours: models may then name its parts."),
    ] = None,
) -> None:
    """What goes before every command."""
    del version
    if trust:
        from vidapt.parts import import_modules

        with plain_errors():
            import_modules(trust)


def main() -> None:
    """Entry point of the `vidapt` command."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:  # of the output itself: a full disk behind `>`, for one
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in buffers goes nowhere
        typer.secho(f"error: the output cannot be written: {error.strerror}", fg=typer.colors.RED, err=True)
        raise SystemExit(2) from None
