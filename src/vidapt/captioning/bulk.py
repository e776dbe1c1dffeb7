"""Captions for every clip of a folder: one row each, however often the job is killed on the way."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidapt.captioning.chunks import Cutting, Pieces, cut, whole
from vidapt.captioning.found import Found, find_clips, order, readable
from vidapt.captioning.job import Job
from vidapt.captioning.journal import Broken, Journal
from vidapt.captioning.namesakes import folder_of, merged, refuse_namesakes
from vidapt.captioning.rows import CaptionRow, check_target, read_rows, write_lines, write_rows
from vidapt.curation.ties import sessions
from vidapt.errors import BrokenClip, ConfigError
from vidapt.inference.diversity import PLAIN, Diversity, diversity_of
from vidapt.inference.engine import CAPTION_PROMPT, Engine
from vidapt.inference.room import rows_at_a_time
from vidapt.inference.several import Reply, Several
from vidapt.inference.watch import SeenClip
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip
from vidapt.progress import Reporter, silent
from vidapt.video.identity import identity


@dataclass(frozen=True)
class Summary:
    """What a job did.

    Attributes:
        out: The file with the captions.
        captioned: Rows made now.
        kept: Rows that were there already, from a finished or an interrupted job.
        broken: Clips without a caption.
        quarantine: The file with the reasons; None if there are none.
        ignored: How many files were not clips, by suffix.
        seconds: How long it took.
    """

    out: Path
    captioned: int
    kept: int
    broken: int
    quarantine: Path | None
    ignored: Mapping[str, int]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        paths = {
            "out": str(self.out),
            "quarantine": None if self.quarantine is None else str(self.quarantine),
        }
        return asdict(self) | paths | {"ignored": dict(self.ignored)}

    def row(self) -> list[str]:
        """As a line of a table: captioned, kept, broken, seconds."""
        return [str(self.captioned), str(self.kept), str(self.broken), f"{self.seconds:.1f}"]


def caption_folder(
    engine: Engine,
    source: Path | Sequence[Path],
    out: Path,
    *,
    prompt: str = CAPTION_PROMPT,
    decoding: Decoding | None = None,
    n: int = 1,
    diversity: str | Path | Diversity | None = None,
    workers: int | None = None,
    batch: int | None = None,
    recursive: bool = True,
    albums: bool = False,
    fps: float | None = None,
    chunk: float | str | None = None,
    overlap: float = 0.0,
    overwrite: bool = False,
    report: Reporter = silent,
) -> Summary:
    """Caption clips into a file of one row per clip, whose columns are those of `CaptionRow`.

    Finished rows are added to `OUT.partial.jsonl` as they come; a job that was killed, run again, goes on
    there and ends with the rows it would have had. `OUT` itself appears whole, in the order of the clips'
    names. Clips already in it with the same content are not captioned again, and rows of clips that are no
    longer there stay, so that several folders may go into one file if their clips' names differ. Clips that
    cannot be used cost no more than their own row: `OUT.quarantine.jsonl` says why; they are tried again by
    the next job. With `chunk`, all of this holds for every stretch of a film.

    Args:
        engine: The model.
        source: A folder, a clip, or several clips; see `find_clips`.
        out: `.jsonl` or `.parquet`.
        prompt: What the model is asked about each clip.
        decoding: How tokens are chosen; None is greedy. Where several captions are asked for, `diversity`
            says so, and this only how long they may be.
        n: Captions of each clip, which stand in the one row as `captions`.
        diversity: How they come to differ: the name of a way, a YAML file, or what it would say. None is one
            caption, or `plain` sampling of several.
        workers: Decoding processes; None is one per core.
        batch: Clips answered together; None decides by what there is memory for.
        recursive: Look into the folders inside as well.
        albums: A folder with pictures and no video is one clip, not a clip per picture.
        fps: Pictures per second of such folders.
        chunk: Cut films into stretches of so many seconds, or, if it is `shots`, where they cut themselves.
        overlap: Seconds for which a stretch goes on into the next one.
        overwrite: Replace captions by another model, prompt, decoding or cutting, and anything else in `out`.
        report: Told after each batch how far the work is.

    Raises:
        ConfigError: If there is no clip, `out` cannot be used, or it (or an unfinished job) has captions by
            another model, prompt, decoding or cutting, or of other clips with the same names in another
            folder, and is not to be overwritten; or films cannot be cut like that.
        FormatError: If `out` holds something other than captions, or the prompt marks several clips.
        VidaptError: If the disk is full; finished rows are kept.
    """
    started = time.monotonic()
    # Under one name, whichever links lead there: a file has one journal and one owner.
    out = Path(os.path.realpath(out))
    check_target(out, _beside(out, "partial"), _beside(out, "quarantine"))
    cutting, chosen = Cutting.of(chunk, overlap), decoding or Decoding()
    found = find_clips(source, recursive=recursive, albums=albums, fps=fps)
    several = None
    if n != 1 or diversity is not None:
        if not chosen.greedy:
            raise ConfigError("decoding", "draws one caption, and several are asked for", "use `diversity`")
        way, length = diversity_of(diversity or PLAIN), chosen.max_new_tokens
        if way.cues is not None:
            sessions(found.clips, way.cues.by)  # before a clip is looked at
        several = Several.of(engine, prompt, n, way, length, workers=cores(workers), report=report)
    job = Job.of(engine, prompt, chosen, cutting, folder_of(source), several)
    with Journal(_beside(out, "partial")) as journal:
        _check_journal(journal, job, overwrite=overwrite)
        old = [] if overwrite or not out.exists() else _old_rows(out, job)
        resumed = len(journal.rows)
        pieces = _pieces(found, job, journal, workers, report)
        if not overwrite:
            refuse_namesakes(out, [*old, *journal.rows.values()], pieces.keys, job.folder, pieces.films)
        _caption(job, pieces, old, journal, batch or _together(job, n), workers, report)
        rows, broken = _outcome(job, pieces, old, journal)
        _commit(out, rows, broken, journal, unchanged=rows == old and out.exists())
        captioned = len(journal.rows) - resumed
    return Summary(
        out=out,
        captioned=captioned,
        kept=len(rows) - captioned,
        broken=len(broken),
        quarantine=_beside(out, "quarantine") if broken else None,
        ignored=found.ignored,
        seconds=time.monotonic() - started,
    )


def _beside(out: Path, what: str) -> Path:
    return out.with_name(f"{out.name}.{what}.jsonl")


def _together(job: Job, n: int) -> int:
    """Each of `n` captions is a row with a copy of what was read of its clip."""
    longest = (job.decoding if job.several is None else job.several.decoding).max_new_tokens
    return max(1, rows_at_a_time(job.engine, job.text_tokens + longest) // n)


def cores(workers: int | None) -> int:
    """Decoding processes: as many as are asked for, or one per core."""
    return (os.cpu_count() or 1) if workers is None else workers


def _check_journal(journal: Journal, job: Job, *, overwrite: bool) -> None:
    if journal.settings <= {job.settings}:
        return
    if not overwrite:
        raise ConfigError(
            journal.path,
            "is an unfinished job with another model, prompt, decoding or cutting",
            "finish it with the same options, write to another file, or overwrite",
        )
    journal.clear()


def _old_rows(out: Path, job: Job) -> list[CaptionRow]:
    """The rows of a finished job of the same kind."""
    rows = read_rows(out)
    for row in rows:
        if row.settings != job.settings:
            raise ConfigError(
                out,
                f"holds other captions: by {row.model} {row.model_hash}, asked {row.prompt!r}"
                + (", decoded or cut otherwise" if _asked_alike(row, job) else ""),
                "write to another file, or overwrite",
            )
    return rows


def _asked_alike(row: CaptionRow, job: Job) -> bool:
    return (row.model_hash, row.prompt) == (job.engine.fingerprint, job.prompt)


def _pieces(found: Found, job: Job, journal: Journal, workers: int | None, report: Reporter) -> Pieces:
    """Everything that is to have a row, cut if it is to be, and what is wrong with the rest."""
    keys, unreadable = _keys(found, job, report)
    films = {keys[clip.id]: clip for clip in found.clips if clip.id in keys}
    if job.cutting is None:
        pieces = whole(films)
    else:
        pieces = cut(films, job.cutting, journal, job.settings, workers=workers, report=report)
    return replace(pieces, broken=pieces.broken | unreadable)


def _keys(found: Found, job: Job, report: Reporter) -> tuple[dict[str, str], dict[str, str]]:
    """The key of every clip that can be read, and what is wrong with the others, by name."""
    keys: dict[str, str] = {}
    unreadable = dict(found.unreadable)
    for number, clip in enumerate(found.clips):
        report("look at clips", number, len(found.clips))
        try:
            keys[clip.id] = job.key(clip, identity(clip.path))
        except OSError as error:
            unreadable[clip.id] = f"it cannot be read ({error.strerror})"
    report("look at clips", len(found.clips), len(found.clips))
    return keys, unreadable


def _caption(
    job: Job,
    pieces: Pieces,
    old: Sequence[CaptionRow],
    journal: Journal,
    batch: int,
    workers: int | None,
    report: Reporter,
) -> None:
    """Add a row, or what is wrong, to the journal for every clip that has no row."""
    kept = {row.key for row in old}
    todo = {key: clip for key, clip in pieces.clips.items() if key not in kept}
    batches = list(_unfinished(todo, journal, batch))
    clips = (list(members.values()) for members in batches)
    done, broken = sum(key in journal.rows for key in todo), 0
    report("caption", done, len(todo))
    watched = job.engine.watch_batches(clips, workers=cores(workers), ahead=2 * batch, beside=job.text_tokens)
    with contextlib.closing(watched) as stream:
        since = time.monotonic()
        for members, seen in zip(batches, stream, strict=True):
            captions = _answered(job, seen)
            now = time.monotonic()
            share = (now - since) / len(members)
            for key, one in zip(members, seen, strict=True):
                if key in journal.rows:
                    continue
                replies = one if isinstance(one, BrokenClip) else captions[one.clip.id]
                if isinstance(one, BrokenClip) or isinstance(replies, BrokenClip):
                    assert isinstance(replies, BrokenClip)
                    journal.add(Broken(key, members[key].id, readable(replies.reason), job.settings))
                    broken += 1
                else:
                    journal.add(job.row(key, one, replies, share, pieces.notes.get(key, ())))
                done += 1
            journal.sync()
            report("caption", done, len(todo), f"{broken} broken" if broken else "")
            since = now


def _unfinished(todo: Mapping[str, Clip], journal: Journal, batch: int) -> Iterator[dict[str, Clip]]:
    """Batches in which something is missing; at the end, what was broken when the job was killed.

    A killed job's last batch is made again as a whole, and written where it is missing: with the same clips
    in a batch the model computes the same bits, so that going on gives what not being killed would have.
    Whatever killed the job may have killed decoders before, so broken clips get another chance.
    """
    keys = list(todo)
    for start in range(0, len(keys), batch):
        members = keys[start : start + batch]
        if any(key not in journal for key in members):
            yield {key: todo[key] for key in members if key not in journal.broken}
    again = [key for key in keys if key in journal.broken]
    for start in range(0, len(again), batch):
        yield {key: todo[key] for key in again[start : start + batch]}


def _answered(job: Job, seen: Sequence[SeenClip | BrokenClip]) -> dict[str, list[Reply] | BrokenClip]:
    """The captions of every sound clip, by its id."""
    sound = [one for one in seen if not isinstance(one, BrokenClip)]
    return {one.clip.id: replies for one, replies in zip(sound, job.replies(sound), strict=True)}


def _outcome(
    job: Job, pieces: Pieces, old: Sequence[CaptionRow], journal: Journal
) -> tuple[list[CaptionRow], dict[str, str]]:
    """The rows there are to be, and by name what is wrong with clips that have none."""
    keys = pieces.keys
    rows = merged([*old, *journal.rows.values()], keys, job.folder, pieces.films)
    broken = {
        entry.clip: entry.reason for entry in journal.broken.values() if keys.get(entry.clip) == entry.key
    }
    return rows, broken | pieces.broken


def _commit(
    out: Path, rows: Sequence[CaptionRow], broken: Mapping[str, str], journal: Journal, *, unchanged: bool
) -> None:
    """Put everything in place; the journal goes last, so that a kill in between only repeats this."""
    if not unchanged:
        write_rows(out, rows)
    quarantine = _beside(out, "quarantine")
    if broken:
        names = sorted(broken, key=order)
        write_lines(quarantine, [{"clip": name, "reason": broken[name]} for name in names])
    else:
        quarantine.unlink(missing_ok=True)
    journal.remove()
