"""Labels for every clip of a folder by teachers: one row each, however often the job is killed on the way."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidapt.captioning.places import folder_of
from vidapt.chat.open import open_speakers
from vidapt.chat.replies import Replies, Spent
from vidapt.digests import digest
from vidapt.errors import BudgetError, ConfigError
from vidapt.files import check_file
from vidapt.interrupt import between_steps
from vidapt.progress import Reporter, silent
from vidapt.teaching.again import read_again
from vidapt.teaching.book import Book, Head, Places, commit, merged, old_rows, refuse_namesakes
from vidapt.teaching.rows import Broken
from vidapt.teaching.settings import Labelling
from vidapt.teaching.todo import Source, Todo, find_todo
from vidapt.teaching.work import Work


@dataclass(frozen=True)
class Summary:
    """What a job did.

    Attributes:
        out: The file with the labels.
        labelled: Clips that got labels now.
        kept: Clips that had them already.
        labels: Labels of all of these.
        broken: Clips without labels.
        quarantine: The file with the reasons; None if there are none.
        left: Clips that were not reached before the budget was.
        ignored: Files that are no clips, by suffix.
        calls: Questions that teachers answered for this recipe and folder, in all runs.
        tokens: Read and written, likewise.
        money: What they cost, likewise; None where a teacher has no price.
        currency: In which.
        per_clip: Money for each clip that has labels; None if none has, or it is not known.
        asked_again: Clips that got other labels now in the place of some that were set aside.
        vanished: Clips of the folder that have labels and are not there any more.
        unmended: Clips that were asked again in vain, and keep what they had.
        unsettled: Questions that may have been paid for without an answer; they count as the most they can
            have cost.
        seconds: How long it took.
    """

    out: Path
    labelled: int
    kept: int
    labels: int
    broken: int
    quarantine: Path | None
    left: int
    ignored: Mapping[str, int]
    calls: int
    tokens: int
    money: float | None
    currency: str
    per_clip: float | None
    unsettled: int
    seconds: float
    asked_again: int = 0
    unmended: int = 0
    vanished: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        paths = {"out": str(self.out), "quarantine": self.quarantine and str(self.quarantine)}
        return asdict(self) | paths | {"ignored": dict(self.ignored)}

    def row(self) -> list[str]:
        """As a line of a table: labelled, kept, broken, labels, calls, tokens, money."""
        money = "cost unknown" if self.money is None else f"{self.money:.4g} {self.currency}"
        counts = (self.labelled, self.kept, self.broken, self.labels, self.calls)
        return [*map(str, counts), f"{self.tokens:,}", money]


def label_folder(
    recipe: Labelling,
    source: Source,
    out: Path,
    *,
    replies: Path | None = None,
    overwrite: bool = False,
    again: Path | None = None,
    report: Reporter = silent,
) -> Summary:
    """Label clips.

    Finished clips are added to `OUT.partial.jsonl` as they come, and every answer to the replies before it
    counts: a job that was killed, run again, goes on there and pays for no answer twice. `OUT`, rows that
    `vidapt train` reads, and `OUT.provenance.jsonl`, a row per clip, appear whole. Clips that have labels by
    the same recipe already are passed over. What cannot be labelled costs its own row:
    `OUT.quarantine.jsonl` says why; it is tried again by the next job. Where the budget ends the job, what is
    done is put in place, and `Summary.left` says how much is not.

    Args:
        recipe: What is asked, of whom.
        source: Which clips.
        out: `.jsonl`.
        replies: Where answers are kept; None is `OUT.replies.jsonl`. Several jobs may share it in turn.
        overwrite: Replace labels of another recipe, and anything else in `out`.
        again: Rejected rows of `vidapt clean`: only clips whose labels stand there are labelled, anew, with
            other seeds and `again.frames` times the frames. One without a usable answer keeps what it had.
        report: Told after each clip how far the work is.

    Raises:
        ConfigError: If something is not as it has to be, before anything is asked.
        VidaptError: If no question is answered any more; finished work is kept.
        KeyboardInterrupt: After Ctrl-C or SIGTERM, once what was under way is answered; a second one does not
            wait for that.
    """
    started = time.monotonic()
    places = Places.of(Path(os.path.realpath(out)), replies and Path(os.path.realpath(replies)))
    for place in asdict(places).values():
        check_file(place)
    teachers = open_speakers(recipe.teachers)
    settings = source.settings(recipe.settings([one.identity for one in teachers]))
    folder = folder_of(source.path)
    with (
        Book(places.partial) as book,
        Replies(places.replies, digest([settings, folder])) as kept_replies,
    ):
        _check_book(book, settings, overwrite=overwrite)
        old = [] if overwrite else old_rows(places, settings)
        todo = find_todo(source, settings, report, places.cuts)
        asked = None if again is None else read_again(again, old, todo.keys).rounds
        before = {row.key for row in (*old, *book.rows.values())}
        if asked is not None:  # of these, what an unfinished job like this one has done
            before = {key for key, n in asked.items() if key in book.rows and book.rows[key].again == n}
        if not overwrite:
            refuse_namesakes(places.labels, [*old, *book.rows.values()], todo.keys, folder)
        standing = {row.key: row for row in old}
        late = {one.clip for one in book.broken.values()} | places.broken(settings, ()).keys()
        work = Work(recipe, source, todo, book, kept_replies, teachers, report, before, asked, standing, late)
        with between_steps() as interrupted:
            reason = asyncio.run(work.carry_out(interrupted))
            if (stop := interrupted()) is not None:
                raise stop
        if reason is not None and not isinstance(reason, BudgetError):
            raise reason
        rows, broken = _outcome(todo, old, book)
        if asked is not None:
            broken = {**places.broken(settings, {row.clip for row in rows}), **broken}
        commit(places, rows, broken)
        vain = set(book.broken)
        book.remove()
    made = {row.key for row in rows}
    summary = _summary(places, rows, broken, todo, kept_replies.spent, recipe, made - before, started)
    return summary if asked is None else _of_again(summary, asked, rows, vain)


def _of_again(
    summary: Summary, asked: Mapping[str, int], rows: Sequence[Head], vain: Collection[str]
) -> Summary:
    """The same of clips that were asked again, beside which nothing was labelled."""
    done = sum(asked.get(row.key) == row.again for row in rows)
    unmended = len(asked.keys() & set(vain))
    return replace(
        summary,
        labelled=0,
        kept=len(rows) - done,
        left=len(asked) - done - unmended,
        asked_again=done,
        unmended=unmended,
    )


def _summary(
    places: Places,
    rows: Sequence[Head],
    broken: Mapping[str, Broken],
    todo: Todo,
    spent: Spent,
    recipe: Labelling,
    made: set[str],
    started: float,
) -> Summary:
    missing = todo.clips.keys() - {row.key for row in rows} - {one.key for one in broken.values()}
    return Summary(
        out=places.labels,
        labelled=len(made),
        kept=len(rows) - len(made),
        labels=sum(row.labels for row in rows),
        broken=len(broken),
        quarantine=places.quarantine if broken else None,
        left=len(missing),
        ignored=todo.ignored,
        calls=spent.calls,
        tokens=spent.tokens,
        money=round(spent.money, 9) if recipe.priced else None,
        currency=recipe.budget.currency,
        per_clip=round(spent.money / len(rows), 9) if rows and recipe.priced else None,
        unsettled=spent.unsettled,
        vanished=sum(row.folder == todo.folder and row.clip not in todo.names for row in rows),
        seconds=round(time.monotonic() - started, 3),
    )


def _check_book(book: Book, settings: str, *, overwrite: bool) -> None:
    if book.settings <= {settings}:
        return
    if not overwrite:
        raise ConfigError(
            book.path,
            "is an unfinished job of another recipe",
            "finish it with the same one, write to another file, or overwrite; answers are kept either way",
        )
    book.clear()


def _outcome(todo: Todo, old: Sequence[Head], book: Book) -> tuple[list[Head], dict[str, Broken]]:
    """The rows there are to be, and by name the clips that have none."""
    keys = todo.keys
    rows = merged([*old, *book.rows.values()], keys)
    labelled = {row.key for row in rows}
    broken = {
        one.clip: one
        for one in book.broken.values()
        if keys.get(one.clip) == one.key and one.key not in labelled
    }
    for name, reason in todo.unreadable.items():
        broken[name] = Broken("", name, reason, todo.settings)
    return rows, broken
