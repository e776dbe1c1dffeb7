"""The command line: thin, and quick to start because every command imports what it needs when it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from vidapt.errors import ConfigError, VidaptError

if TYPE_CHECKING:
    from vidapt.captioning.engine import Engine
    from vidapt.captioning.match import Matched, MatchedSet

app = typer.Typer(
    name="vidapt",
    help="Adapt a video-language model to your own footage, and measure what it sees and what it makes up.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
simulate_app = typer.Typer(help="Make clips whose truth is known exactly.", no_args_is_help=True)
app.add_typer(simulate_app, name="simulate")

Model = Annotated[str, typer.Option(help="A shipped model's name, a run's folder or a checkpoint's folder.")]
Workers = Annotated[int | None, typer.Option(help="Decoding processes; one per core by default.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Place = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto spreads over all devices.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_MODEL = "billiards-home"
BITS: dict[int, Literal[4, 8]] = {4: 4, 8: 8}


class ExportTo(StrEnum):
    """Layouts that `export` writes."""

    hf = "hf"
    merged = "merged"


class NumberFormat(StrEnum):
    """Number formats of stored weights."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class ScoredBy(StrEnum):
    """How a language model scores a statement."""

    asked = "asked"
    said = "said"


Format = Annotated[NumberFormat, typer.Option(help="Number format of the weights.")]
BitsOption = Annotated[
    int | None, typer.Option("--bits", min=4, max=8, help="4 or 8: quantise the language model.")
]


@simulate_app.command("billiards")
def simulate_billiards(
    out: Annotated[Path, typer.Option(help="Folder to write to; an interrupted simulation goes on.")],
    clips: Annotated[int, typer.Option(min=1, help="Number of clips.")] = 500,
    venue: Annotated[str, typer.Option(help="home, club or hall.")] = "home",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    statements: Annotated[int, typer.Option(min=1, help="Pairs of true and false statements per clip.")] = 1,
    workers: Workers = None,
) -> None:
    """Simulate pool shots: real mp4 clips with labels, questions and the log of what happened."""
    from vidapt.progress import progress
    from vidapt.worlds.billiards import simulate

    with _plain_errors(), progress() as report:
        simulate(
            out,
            clips=clips,
            venue=venue,
            seed=seed,
            statements=statements,
            workers=workers,
            progress=lambda done, total: report("simulate", done, total),
        )
    typer.echo(out / "labels.jsonl")


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe (YAML).")],
    data: Annotated[Path | None, typer.Option(help="Label file (or folder) to learn from.")] = None,
    start: Annotated[str | None, typer.Option(help="Model to begin with: name, run or checkpoint.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    runs: Annotated[Path, typer.Option(help="The run's folder is made in here.")] = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    change: Annotated[list[str] | None, typer.Option("--set", help="Such as stages.0.epochs=2")] = None,
    workers: Workers = None,
    device: Device = "cpu",
) -> None:
    """Train what a recipe says; prints the run's folder."""
    from vidapt.progress import progress
    from vidapt.recipe import load_recipe

    with _plain_errors():
        given = {"data": data and data.resolve(), "start": start and _named(start), "name": name}
        changes = [f"{key}={value}" for key, value in given.items() if value is not None]
        parsed = load_recipe(recipe, [*changes, *(change or ())])
        from vidapt.training.run import train as run_training

        with progress() as report:
            run = run_training(parsed, runs, report, resume=resume, workers=workers, device=device)
    typer.echo(run)


@app.command("eval")
def evaluate(
    model: Annotated[
        str, typer.Argument(help="A shipped model's name, a run's folder or a checkpoint's folder.")
    ],
    data: Annotated[Path, typer.Option(help="Label file with questions and answers.")],
    out: Annotated[Path, typer.Option(help="Folder for predictions, metrics.json and report.html.")],
    train_data: Annotated[Path | None, typer.Option(help="Labels the majority answer is taken from.")] = None,
    controls: Annotated[bool, typer.Option(help="Also ask without the video, and with another.")] = True,
    workers: Workers = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure what a model sees and what it makes up, with controls and intervals."""
    from vidapt.progress import progress

    with _plain_errors():
        from vidapt.measure.command import evaluate_model

        with progress() as report:
            evaluation = evaluate_model(
                model,
                data,
                out,
                train_data=train_data,
                controls=controls,
                workers=workers,
                device=device,
                report=report,
            )
    if as_json:
        typer.echo(json.dumps(evaluation.to_dict()))
        return
    _table(
        ["question type", "n", "accuracy", "95 % interval", "majority", "blind", "shuffled"],
        evaluation.rows(),
    )
    typer.echo(out / "report.html")


@app.command()
def caption(
    source: Annotated[Path, typer.Argument(help="A folder of clips, or one clip.")],
    out: Annotated[Path, typer.Option(help="FILE.jsonl or FILE.parquet; a stopped run goes on.")],
    model: Model = DEFAULT_MODEL,
    prompt: Annotated[
        str, typer.Option(help="What the model is asked about each clip.")
    ] = "describe the video.",
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest caption, in tokens.")] = 128,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace captions by another model or prompt.")
    ] = False,
    workers: Workers = None,
    device: Place = "cpu",
    dtype: Format = NumberFormat.float32,
    bits: BitsOption = None,
    as_json: Json = False,
) -> None:
    """Caption every clip of a folder: one row each, broken clips set aside with their reasons."""
    from vidapt.progress import progress

    with _plain_errors():
        from vidapt.captioning.bulk import caption_folder
        from vidapt.models.generate import Decoding

        engine = _engine(model, device, dtype, bits)
        with progress() as report:
            summary = caption_folder(
                engine,
                source,
                out,
                prompt=prompt,
                decoding=Decoding(max_new_tokens=max_tokens),
                workers=workers,
                report=report,
                overwrite=overwrite,
            )
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
        return
    _table(["captioned", "kept from before", "broken", "seconds"], [summary.row()])
    typer.echo(out)


@app.command()
def ask(
    clip: Annotated[Path, typer.Argument(help="A video, a picture or a folder of frames.")],
    question: Annotated[list[str], typer.Argument(help="One or more questions.")],
    also: Annotated[
        list[Path] | None, typer.Option(help="A further clip or picture the questions are about.")
    ] = None,
    model: Model = DEFAULT_MODEL,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    device: Place = "cpu",
    dtype: Format = NumberFormat.float32,
    bits: BitsOption = None,
    as_json: Json = False,
) -> None:
    """Answer questions about a clip, or about several together."""
    with _plain_errors():
        engine = _engine(model, device, dtype, bits)
        media = [clip, *(also or ())]
        answers = engine.ask_all(media, question, max_new_tokens=max_tokens)
    if as_json:
        rows = [{"question": q, "answer": a} for q, a in zip(question, answers, strict=True)]
        typer.echo(json.dumps({"clip": str(clip), "answers": rows}, ensure_ascii=False))
        return
    for answer in answers:
        typer.echo(answer)


@app.command()
def look(
    clip: Annotated[Path, typer.Argument(help="A video, a picture or a folder of frames.")],
    out: Annotated[Path, typer.Option(help="FILE.gif, FILE.mp4 or FILE.png (one sheet).")],
    model: Annotated[
        list[str] | None, typer.Option(help="Shipped model, run or checkpoint; several stand side by side.")
    ] = None,
    layer: Annotated[int | None, typer.Option(help="Layer, counted from 1; the last by default.")] = None,
    head: Annotated[int | None, typer.Option(help="Head, counted from 1; the mean by default.")] = None,
    token: Annotated[
        str | None, typer.Option(help="Whose attention: class, proxies, 'proxy 1', ... or received.")
    ] = None,
    rollout: Annotated[bool, typer.Option("--rollout", help="Through all layers up to --layer.")] = False,
    word: Annotated[str | None, typer.Option(help="Where this word is, for dual encoders.")] = None,
    text: Annotated[str | None, typer.Option(help="A text in which the word stands.")] = None,
    level: Annotated[
        str, typer.Option(help="Where word and patches are compared: layer:3, encoder, projected, ...")
    ] = "projected",
    slot: Annotated[int | None, typer.Option(help="Slot of a `track` connector, from 1; 0 is all.")] = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Draw what models attend to over the frames, with a number for its noise under each."""
    with _plain_errors():
        from vidapt.measure.look import Wanted
        from vidapt.measure.look import look as draw

        wanted = Wanted(layer, head, token, rollout, word, text, level, slot)
        looked = draw(clip, out, model or [DEFAULT_MODEL], wanted, device=device)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "models": [one.to_dict() for one in looked]}))
        return
    _table(["model", "map", "entropy", "on high-norm patches"], [one.row() for one in looked])
    typer.echo(out)


@app.command("match")
def match_statements(
    clip: Annotated[
        Path | None, typer.Argument(help="A video, a picture or a folder of frames; none with --data.")
    ] = None,
    statement: Annotated[list[str] | None, typer.Argument(help="What may be seen in it.")] = None,
    false: Annotated[
        list[str] | None, typer.Option(help="A statement known to be false; the others then count as true.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labels with captions or statements, or a simulated world's folder.")
    ] = None,
    retrieval: Annotated[
        bool, typer.Option("--retrieval", help="With --data: also find clips by text and texts by clip.")
    ] = False,
    by_rule: Annotated[
        int, typer.Option(min=0, help="With --data: false copies to make where a row has none.")
    ] = 0,
    lexicon: Annotated[Path | None, typer.Option(help="For --by-rule: a lexicon of your own.")] = None,
    by: Annotated[
        ScoredBy, typer.Option(help="A language model is asked whether it is true, or would have said so.")
    ] = ScoredBy.asked,
    model: Model = DEFAULT_MODEL,
    workers: Workers = None,
    device: Place = "cpu",
    as_json: Json = False,
) -> None:
    """Score statements against a clip, or those of a whole set, and retrieve one by the other."""
    from vidapt.progress import progress

    with _plain_errors():
        if (clip is None) == (data is None):
            raise ConfigError("match", "give a clip with statements, or --data", "see vidapt match --help")
        from vidapt.captioning.match import match, match_set
        from vidapt.captioning.matchers import By, open_matcher
        from vidapt.labelling.cases import read_cases

        cases = [] if data is None else read_cases(data, by_rule=by_rule, lexicon=lexicon)
        matcher = open_matcher(model, By(by.value), device, _tell)
        if clip is not None:
            matched = match(matcher, clip, statement or [], false or [])
            _show_match(matched, as_json=as_json)
            return
        with progress() as report:
            found = match_set(matcher, cases, with_retrieval=retrieval, workers=workers, report=report)
    _show_match_set(found, as_json=as_json)


@app.command()
def families(as_json: Json = False) -> None:
    """List the published architectures that can be opened."""
    with _plain_errors():
        from vidapt.hub import describe_families

        rows = describe_families()
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows]))
        return
    _table(["family", "what it is", "tokens per clip", "licence of the published weights"],
           [[row.name, row.title, row.tokens, row.licence] for row in rows])  # fmt: skip


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A shipped model's name, a run, or a checkpoint's folder.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    to: Annotated[
        ExportTo, typer.Option(help="hf: the layout it was published in; merged: vidapt's, without adapters.")
    ] = ExportTo.hf,
    dtype: Format = NumberFormat.float32,
) -> None:
    """Write a model for other tools: transformers (and so vLLM) opens what `--to hf` writes."""
    with _plain_errors():
        from vidapt.loading import export_model

        export_model(model, out, to=to.value, dtype=dtype.value)
    typer.echo(out)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Results go here; run again to go on.")] = Path("demo"),
    captions: Annotated[Path | None, typer.Option(help="Also caption this folder of clips.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A smoke run: few clips, little training.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Adapt the shipped model to a venue it has never seen, and show before and after."""
    from vidapt.progress import progress

    with _plain_errors():
        from vidapt.demo import run_demo

        with progress() as report:
            result = run_demo(out, report=report, captions=captions, quick=quick, workers=workers)
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
        return
    _table(["", "before", "after", "majority", "blind", "shuffled"], result.rows())
    typer.echo(f"report: {result.report}")


def _show_match(matched: Matched, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(matched.to_dict(), ensure_ascii=False))
        return
    _table(["statement", matched.unit, "softmax"], matched.rows())
    if matched.margin is not None:
        typer.echo(f"worst true above best false: {matched.margin:.3f}")


def _show_match_set(found: MatchedSet, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    if found.rows():
        head = ["true against false", "pairs", "true wins", "95 % interval", f"margin ({found.unit})"]
        _table(head, found.rows())
    if found.retrieval_rows():
        _table(["find", "R@1", "R@5", "R@10", "median rank", "mean rank"], found.retrieval_rows())
    for what, reason in (*found.broken.items(), *found.unreadable.items()):
        typer.secho(f"left out: {what}: {reason}", err=True, dim=True)


def _tell(report: Any) -> None:
    """Say on the error stream what became of a published checkpoint's tensors."""
    typer.secho(report.line(), err=True, dim=True)


def _named(model: str) -> str:
    """A model's name as it is; its folder as seen from here, not from the recipe."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def _engine(model: str, device: str, dtype: NumberFormat, bits: int | None) -> Engine:
    """Open a model; what became of a published checkpoint's tensors is told on the error stream."""
    from vidapt.captioning.engine import load

    if bits is not None and bits not in BITS:
        raise ConfigError("--bits", f"{bits} bits are not offered", "use 4 or 8")

    return load(model, dtype.value, device, _tell, None if bits is None else BITS[bits])


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Show what a user can mend as a message; let everything else be seen whole."""
    try:
        yield
    except VidaptError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.secho("\nstopped; finished work is kept, run the same command again to go on", err=True)
        raise typer.Exit(130) from None


def _table(head: list[str], rows: list[list[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*head, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(str, row))
    Console(file=sys.stdout).print(table)


def main() -> None:
    """Entry point of the `vidapt` command."""
    app()
