"""`vidapt label`: labels by a teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidapt.cli._options import Fps, Json, Workers
from vidapt.cli._show import numbers, plain_errors, remark, say, table
from vidapt.errors import BudgetError, ConfigError, VidaptError

if TYPE_CHECKING:
    from vidapt.teaching.foresee import Foreseen
    from vidapt.teaching.job import Summary
    from vidapt.teaching.settings import Labelling


_PRICE = "--price IN,OUT, or `price` in the recipe"


def label(
    source: Annotated[Path | None, typer.Argument(help="A folder of clips, or one clip.")] = None,
    out: Annotated[Path, typer.Option(help="FILE.jsonl; a stopped run goes on.")] = Path("labels.jsonl"),
    recipe: Annotated[
        Path | None, typer.Option(help="Teachers, frames, prompts, budget; by default the shipped one.")
    ] = None,
    new_recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Copy the shipped recipe there, and do nothing else.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="A server's address, or a vidapt model's name or folder, for the recipe's."),
    ] = None,
    served: Annotated[str | None, typer.Option(help="What the model is called at that address.")] = None,
    key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable that holds the server's key.")
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(metavar="IN,OUT", help="What a million tokens cost there, read and written."),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="caption, facts or questions; of a vidapt model without a recipe, caption."),
    ] = None,
    change: Annotated[list[str] | None, typer.Option("--set", help="Such as frames.count=8: YAML.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Stop before more money than this is spent.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Stop before more tokens are spent.")] = None,
    replies: Annotated[
        Path | None, typer.Option(help="Where answers are kept; by default OUT.replies.jsonl.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell calls, tokens and money; ask nothing.")
    ] = False,
    again: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rejected rows of `vidapt clean`: ask anew for what they mark."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace labels of another recipe.")] = False,
    albums: Annotated[
        bool, typer.Option("--albums", help="A folder of pictures is one clip, not a clip per picture.")
    ] = False,
    fps: Fps = None,
    chunk: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS|shots", help="Cut films into stretches, each labelled; or where shots change."
        ),
    ] = None,
    overlap: Annotated[
        float, typer.Option(help="Seconds for which a stretch goes on into the next one.")
    ] = 0.0,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Let a teacher label every clip of a folder: captions, facts or questions, within a budget."""
    from vidapt.progress import progress

    with plain_errors():
        if new_recipe is not None:
            _copy(new_recipe)
            return
        if source is None:
            raise ConfigError("label", "no clips are given", "give a folder, or --new-recipe FILE")
        from vidapt.captioning.chunks import Cutting
        from vidapt.teaching.todo import Source

        settled = _settled(
            recipe, change or [], _teacher(teacher, served, key_env, price), mode, max_cost, max_tokens
        )
        clips = Source(source, albums, fps, workers, Cutting.of(chunk, overlap))
        if again is not None and (overwrite or dry_run):
            raise ConfigError(
                "--again",
                "goes with neither --overwrite nor --dry-run",
                "leave one out; --max-cost bounds it",
            )
        if dry_run:
            from vidapt.chat.open import open_speakers
            from vidapt.teaching.foresee import foresee

            with progress() as report:
                found = foresee(
                    settled, open_speakers(settled.teachers), clips, out, overwrite=overwrite, report=report
                )
            _show_foreseen(found, as_json=as_json)
            return
        from vidapt.teaching.job import label_folder

        with progress() as report:
            summary = label_folder(
                settled, clips, out, replies=replies, overwrite=overwrite, again=again, report=report
            )
        _show(summary, as_json=as_json)
        _fail_if_unfinished(summary)


def _copy(to: Path) -> None:
    from vidapt.files import exists, write_text
    from vidapt.teaching.read import shipped

    if exists(to):
        raise ConfigError(to, "exists", "name a new file")
    write_text(to, shipped().read_text(encoding="utf-8"))
    say(to)


def _teacher(
    teacher: str | None, served: str | None, key_env: str | None, price: str | None
) -> list[dict[str, Any]] | None:
    """The teacher that options describe; None without any."""
    of_server = [
        name
        for name, value in (("--served", served), ("--key-env", key_env), ("--price", price))
        if value is not None
    ]
    if teacher is None:
        if of_server:
            raise ConfigError(
                "--teacher", f"is needed with {' and '.join(of_server)}", "give the server's address"
            )
        return None
    if "://" not in teacher:
        if of_server:
            raise ConfigError("--teacher", f"{teacher} is no server", f"leave out {' and '.join(of_server)}")
        return [{"kind": "local", "model": teacher}]
    if served is None:
        raise ConfigError("--served", "is missing", "say what the model is called at that address")
    found = {"kind": "endpoint", "url": teacher, "model": served, "key_env": key_env}
    return [found if price is None else {**found, "price": _price(price)}]


def _price(text: str) -> dict[str, float]:
    values = numbers("--price", text)
    if len(values) != 2:
        raise ConfigError("--price", f"{text!r} is no pair of numbers", "such as 0.2,0.8")
    return dict(zip(("input", "output"), values, strict=True))


def _settled(
    recipe: Path | None,
    changes: list[str],
    teachers: list[dict[str, Any]] | None,
    mode: str | None,
    max_cost: float | None,
    max_tokens: int | None,
) -> Labelling:
    from vidapt.formats._base import CAPTION_PROMPT
    from vidapt.teaching.read import read_labelling

    given: dict[str, Any] = {} if teachers is None else {"teachers": teachers}
    given |= {} if mode is None else {"mode": mode}
    if recipe is None and teachers is not None and teachers[0]["kind"] == "local":
        # A model of vidapt's own was trained on this question, and a small one understands no other; of facts
        # in JSON it knows nothing.
        given.setdefault("mode", "caption")
        changes = [f"prompts.caption={CAPTION_PROMPT}", *changes]
    limits = {"budget.money": max_cost, "budget.tokens": max_tokens}
    changes = [*changes, *(f"{place}={value}" for place, value in limits.items() if value is not None)]
    return read_labelling(recipe, changes, given)


def _show_foreseen(found: Foreseen, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    table(["", "calls", "tokens read", "tokens written", "money"], found.rows())
    say(f"{found.clips} clips, {found.seconds:.0f} s, {found.frames} frames; {found.kept} have labels")
    if found.broken:
        remark(f"{found.broken} clips are broken")
    if found.unpriced:
        remark(f"cost unknown, since nobody has said a price: {', '.join(found.unpriced)}; give {_PRICE}")


def _show(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary.to_dict(), ensure_ascii=False))
        return
    head = ["labelled", "kept from before", "broken", "labels", "calls", "tokens", "spent"]
    table(head, [summary.row()])
    say(summary.out)
    if summary.asked_again:
        remark(f"{summary.asked_again} clips have other labels now; clean them again")
    if summary.unmended:
        remark(f"{summary.unmended} clips were asked again in vain, and keep what they had")
    if summary.money is None:
        remark(f"cost unknown, since a teacher has no price; give {_PRICE}")
    if summary.per_clip:
        remark(f"{summary.per_clip:.4g} {summary.currency} for each clip that has labels")


def _fail_if_unfinished(summary: Summary) -> None:
    if summary.ignored:
        counts = ", ".join(f"{n} {suffix or 'without an ending'}" for suffix, n in summary.ignored.items())
        remark(f"ignored, as they are no clips: {counts}")
    if summary.vanished:
        remark(f"{summary.vanished} clips that have labels are not there any more; their labels are kept")
    if summary.unsettled:
        remark(f"{summary.unsettled} questions may have been paid for without an answer; they count in full")
    if summary.quarantine is not None:
        remark(f"{summary.broken} broken; reasons in {summary.quarantine}")
    if summary.left:
        raise BudgetError(
            "budget",
            f"{summary.left} clips are left, and the next question could go beyond it",
            "raise --max-cost or --max-tokens, and run the same command again",
        )
    if summary.quarantine is not None and not summary.labelled and not summary.kept:
        raise VidaptError(
            summary.quarantine, f"all {summary.broken} clips are broken", "read the reasons there"
        )
