"""Whether a server reads and says the same as the engine here, clip by clip and question by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError, VidaptError, readable
from vidapt.formats import open_samples, single_questions
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.inference.watch import SeenClip
from vidapt.measure import served as servers
from vidapt.measure.prompt_ids import (
    Difference,
    answer_difference,
    ours,
    pads_of,
    prompt_difference,
    theirs,
)
from vidapt.measure.served import Server, ServerError
from vidapt.models.decoding import Decoding
from vidapt.nouns import Clip
from vidapt.progress import Reporter, silent
from vidapt.video import decode

_SILENT = 3
"""So many questions in a row without any reply, and the server is taken to be gone."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the clips it is about."""

    clips: tuple[Clip, ...]
    question: str

    @property
    def name(self) -> str:
        """Of the clips."""
        return ", ".join(readable(clip.id) for clip in self.clips)


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one question.

    Attributes:
        clip: What it is about.
        question: It.
        compared: `tokens` (and the answer) or `answers`; None if nothing was.
        difference: The first one; None if there is none.
        failed: Why nothing was compared; empty if something was.
        ours: The answer here.
        theirs: The server's.
    """

    clip: str
    question: str
    compared: str | None = None
    difference: Difference | None = None
    failed: str = ""
    ours: str = ""
    theirs: str = ""

    @property
    def verdict(self) -> str:
        """In one word."""
        if self.failed:
            return "not compared"
        return "same" if self.difference is None else f"{self.difference.kind} differs"

    def cells(self) -> list[str]:
        """As a line of a table."""
        detail = self.failed or ("" if self.difference is None else self.difference.line())
        return [self.clip, self.question, self.compared or "", self.verdict, detail]


@dataclass(frozen=True, slots=True)
class Parity:
    """What came of all questions, in their order."""

    rows: tuple[Row, ...]

    @property
    def differing(self) -> tuple[Row, ...]:
        """Rows with a difference."""
        return tuple(row for row in self.rows if row.difference is not None)

    @property
    def failed(self) -> tuple[Row, ...]:
        """Rows in which nothing could be compared."""
        return tuple(row for row in self.rows if row.failed)

    @property
    def status(self) -> int:
        """Exit status: 1 if something differs, 2 if nothing does but something was not compared, else 0."""
        return 1 if self.differing else 2 if self.failed else 0

    def headline(self) -> str:
        """What differs first, or that nothing does."""
        if self.differing:
            first = self.differing[0]
            assert first.difference is not None
            return f"first difference, {first.clip}, {first.question!r}: {first.difference.line()}"
        same = len(self.rows) - len(self.failed)
        by_ids = sum(row.compared == "tokens" for row in self.rows)
        return f"{same} of {len(self.rows)} questions are the same, {by_ids} of them token by token"

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "same": len(self.rows) - len(self.differing) - len(self.failed),
            "different": len(self.differing),
            "not_compared": len(self.failed),
            "first": asdict(self.differing[0]) if self.differing else None,
            "rows": [asdict(row) | {"verdict": row.verdict} for row in self.rows],
        }


def questions_of(
    data: Path | None, clips: Sequence[Path], questions: Sequence[str], limit: int, kind: str | None = None
) -> list[Asked]:
    """Collect what is to be asked.

    Args:
        data: A label file, whose questions are asked each by itself; None takes `clips` and `questions`.
        clips: About each of these files ...
        questions: ... each of these is asked.
        limit: Most questions.
        kind: Format of the labels; None tells it from their content.

    Raises:
        ConfigError: If nothing is to be asked, or it is said in both ways.
        FormatError: If the labels cannot be read.
    """
    if data is not None:
        if clips or questions:
            raise ConfigError("--data", "questions are given as well", "give labels, or clips and questions")
        samples = single_questions(open_samples(data, kind))
        asked = [Asked(sample.media, sample.question) for sample in samples if sample.media]
    else:
        asked = [Asked((Clip(path.name, path),), text) for path in clips for text in questions]
    if not asked or not all(one.question.strip() for one in asked):
        raise ConfigError(
            "--data" if data is not None else "--question",
            "no question about a clip is asked, or one is empty",
            "give labels with --data, or clips with --clip and questions with --question",
        )
    return asked[:limit]


class OpenedHere:
    """An export that answers as a server would; see `measure.served.Server`.

    Args:
        folder: What `vidapt export` wrote, or any model.
        dtype: Number format of the weights or its name; None is what `load` takes.
        device: Where it runs.

    Raises:
        CheckpointError: If it cannot be opened.
    """

    def __init__(self, folder: Path, dtype: str | None = None, device: str = "cpu") -> None:
        self._engine = load(folder, dtype, device)
        self.model = self._engine.name

    def ask(self, media: Sequence[Clip], question: str, max_tokens: int) -> servers.Reply:
        """Ask one question, greedily.

        Args:
            media: The clips it is about.
            question: With a mark where each stands, or without any.
            max_tokens: Longest answer.

        Raises:
            BrokenClip: If a clip cannot be read.
        """
        engine, model = self._engine, self._engine.model
        frames = [(clip, decode(clip, model.blueprint.frames, size=model.decode_size)) for clip in media]
        seen = engine.see(frames, together=len(frames), beside=engine.text_tokens(question, len(frames)))
        ((answer,),) = engine.answer([(seen, [question])], Decoding(max_new_tokens=max_tokens))
        ids, visual = engine.prompt(seen, question)
        beyond = len(engine.tokenizer)  # no text has such an id, see `prompt_ids.theirs`
        told = tuple(beyond if is_visual else one for one, is_visual in zip(ids, visual, strict=True))
        return servers.Reply(engine.text(answer), told)


def compare(
    engine: Engine,
    server: Server | OpenedHere,
    asked: Sequence[Asked],
    *,
    max_tokens: int = 32,
    report: Reporter = silent,
) -> Parity:
    """Ask both sides the same, greedily; what goes wrong with one question costs its row.

    Args:
        engine: This side.
        server: The other.
        asked: What.
        max_tokens: Longest answer.
        report: Told how far the work is.

    Raises:
        ServerError: If the server does not even say which model it has.
    """
    _ = server.model
    side = _Side(engine, server, Decoding(max_new_tokens=max_tokens))
    rows: list[Row] = []
    for number, one in enumerate(asked):
        report("compare", number, len(asked))
        rows.append(side.row(one))
    report("compare", len(asked), len(asked))
    return Parity(tuple(rows))


class _Side:
    """Goes through questions; clips of one are kept for the next, which is often about the same."""

    def __init__(self, engine: Engine, server: Server | OpenedHere, decoding: Decoding) -> None:
        self._engine, self._server, self._decoding = engine, server, decoding
        self._pads = pads_of(engine)
        self._vocabulary = len(engine.tokenizer)
        self._silent = 0
        self._seen: tuple[tuple[Clip, ...], list[SeenClip]] | None = None

    def row(self, asked: Asked) -> Row:
        about = Row(asked.name, readable(asked.question, lines=True))
        if self._silent >= _SILENT:
            return _failed(about, f"not asked: the server gave no reply {_SILENT} times in a row")
        try:
            return self._compared(about, asked)
        except ServerError as error:
            if error.status is not None:
                self._silent = self._silent + 1 if error.status == 0 else 0
            return _failed(about, error.found + (f"; {error.remedy}" if error.remedy else ""))
        except (VidaptError, OSError) as error:
            return _failed(about, str(error))

    def _compared(self, about: Row, asked: Asked) -> Row:
        engine = self._engine
        seen = self._look(asked)
        ((answer,),) = engine.answer([(seen, [asked.question])], self._decoding)
        reply = self._server.ask(asked.clips, asked.question, self._decoding.max_new_tokens)
        self._silent = 0
        said = engine.text(answer)
        difference = None
        if reply.prompt_ids is not None:
            served = theirs(reply.prompt_ids, self._pads, self._vocabulary)
            difference = prompt_difference(ours(engine, seen, asked.question), served, engine.tokenizer)
        return Row(
            about.clip,
            about.question,
            "answers" if reply.prompt_ids is None else "tokens",
            difference or answer_difference(said, reply.text),
            ours=readable(said, lines=True),
            theirs=readable(reply.text.strip(), lines=True),
        )

    def _look(self, asked: Asked) -> list[SeenClip]:
        if self._seen is None or self._seen[0] != asked.clips:
            model = self._engine.model
            frames = [
                (clip, decode(clip, model.blueprint.frames, size=model.decode_size)) for clip in asked.clips
            ]
            beside = self._engine.text_tokens(asked.question, len(asked.clips))
            self._seen = (asked.clips, self._engine.see(frames, together=len(frames), beside=beside))
        return self._seen[1]


def _failed(about: Row, why: str) -> Row:
    return Row(about.clip, about.question, failed=readable(why, lines=True))
