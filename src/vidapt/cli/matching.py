"""`vidapt match`: how well statements fit clips."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidapt.cli._options import DEFAULT_MODEL, Json, LabelFormat, Model, Place, Workers
from vidapt.cli._show import plain_errors, remark, say, table, tell
from vidapt.errors import ConfigError
from vidapt.files import exists

if TYPE_CHECKING:
    from vidapt.inference.match import Matched
    from vidapt.inference.match_set import MatchedSet


class ScoredBy(StrEnum):
    """How a language model scores a statement."""

    asked = "asked"
    said = "said"


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
    labels: LabelFormat = None,
    model: Model = DEFAULT_MODEL,
    workers: Workers = None,
    device: Place = "cpu",
    as_json: Json = False,
) -> None:
    """Score statements against a clip, or those of a whole set, and retrieve one by the other."""
    from vidapt.progress import progress

    with plain_errors():
        _check_options(
            clip,
            data,
            {
                "--retrieval": retrieval,
                "--by-rule": by_rule,
                "--lexicon": lexicon,
                "--format": labels,
            },
        )
        if lexicon is not None and not exists(lexicon):
            raise ConfigError(lexicon, "there is no such file", "give a lexicon, or leave --lexicon out")
        from vidapt.inference.match import match
        from vidapt.inference.match_set import match_set
        from vidapt.inference.matchers import By, open_matcher
        from vidapt.labelling.cases import read_cases

        cases = [] if data is None else read_cases(data, labels, by_rule=by_rule, lexicon=lexicon)
        matcher = open_matcher(model, By(by.value), device, tell)
        if clip is not None:
            matched = match(matcher, clip, statement or [], false or [])
            _show_match(matched, as_json=as_json)
            return
        with progress() as report:
            found = match_set(matcher, cases, with_retrieval=retrieval, workers=workers, report=report)
    _show_match_set(found, as_json=as_json)


def _check_options(clip: Path | None, data: Path | None, of_data: dict[str, object]) -> None:
    if clip is not None and data is not None:
        raise ConfigError("match", "a clip and --data exclude one another", "give one of them")
    if clip is None and data is None:
        raise ConfigError("match", "give a clip with statements, or --data", "see vidapt match --help")
    given = [name for name, value in of_data.items() if value]
    if data is None and given:
        raise ConfigError("match", f"{', '.join(given)} can only be used with --data", "leave them out")


def _show_match(matched: Matched, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(matched.to_dict(), ensure_ascii=False))
        return
    table(["statement", matched.unit, "softmax"], matched.rows())
    if matched.margin is not None:
        say(f"worst true above best false: {matched.margin:.3f}")


def _show_match_set(found: MatchedSet, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
        return
    if found.rows():
        head = ["true against false", "pairs", "true wins", "95 % interval", f"margin ({found.unit})"]
        table(head, found.rows())
    if found.retrieval_rows():
        table(["find", "R@1", "R@5", "R@10", "median rank", "mean rank"], found.retrieval_rows())
    for what, reason in (*found.broken.items(), *found.unreadable.items()):
        remark(f"left out: {what}: {reason}")
