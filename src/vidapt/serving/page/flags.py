"""Wrong answers with what would have been right, kept as labels that the next round learns from."""

from __future__ import annotations

import hashlib
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from vidapt.appended import Appended
from vidapt.errors import FormatError, VidaptError
from vidapt.files import check_folder, disk_errors, write_file
from vidapt.formats.vidapt_jsonl import plain_row, refuse_unwritable
from vidapt.nouns import MEDIA, Clip, Sample, Turn
from vidapt.serving.refused import RefusedError, wrong

FILE, CLIPS = "flags.jsonl", "clips"
MOST_BYTES = 4 << 30
"""Of all clips that are kept, whoever flags."""

MOST_WORDS = 10_000
"""Letters of a question or an answer."""


@dataclass(frozen=True)
class Flag:
    """A wrong answer.

    Attributes:
        model: Which model gave it.
        by: Whose key it was flagged with.
        clip: The file it is about.
        suffix: Of that file's name.
        question: So that it can be understood alone.
        answer: What the model said.
        right: What would have been right.
        before: Questions and answers that came before, as (question, answer).
    """

    model: str
    by: str
    clip: Path
    suffix: str
    question: str
    answer: str
    right: str
    before: tuple[tuple[str, str], ...] = ()


class Flags:
    """A folder of labels and their clips: `flags.jsonl`, and `clips/` with each clip once, by its content.

    Args:
        folder: Made if missing; one server has it at a time.
        clock: Seconds since 1970.

    Raises:
        VidaptError: If nothing can be written there, or another server has it.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        check_folder(folder)
        with disk_errors(folder):
            (folder / CLIPS).mkdir(parents=True, exist_ok=True)
        self._folder, self._clock, self._lock = folder, clock, Lock()
        self._file = Appended(folder / FILE)

    def close(self) -> None:
        """Let others have the folder."""
        self._file.close()

    def keep(self, flag: Flag) -> None:
        """Keep a flag and its clip; any thread may.

        Raises:
            RefusedError: If it says nothing that could be learned, or there is no room.
        """
        question, right = flag.question.strip(), flag.right.strip()
        if not question or not right:
            raise wrong("say what was asked, and what would have been right")
        if max(len(question), len(right)) > MOST_WORDS or MEDIA in question + right:
            raise wrong(f"questions and answers have {MOST_WORDS} letters at most, and no {MEDIA}")
        if right == flag.answer.strip():
            raise wrong("that is what the model said")
        try:
            with self._lock:
                self._add(flag, question, right)
        except FormatError as error:
            raise wrong(f"no label can say that: {error.found}") from None
        except VidaptError as error:
            raise RefusedError(507, "not_kept", f"it could not be kept: {error.found}") from None

    def _add(self, flag: Flag, question: str, right: str) -> None:
        with flag.clip.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        kept = self._clip(flag, content)
        told = {"model": flag.model, "by": flag.by, "at": round(self._clock()), "sha256": content}
        if flag.before:
            told["before"] = [list(pair) for pair in flag.before]
        sample = Sample(
            f"flag-{secrets.token_hex(8)}",
            (Clip(f"{CLIPS}/{kept.name}", kept),),
            (Turn("user", question), Turn("assistant", right)),
            # An answer with a clip's mark in it, or of nothing, cannot stand in a label.
            rejected=flag.answer.replace(MEDIA, "").strip() or None,
            facts={"flagged": told},
        )
        refuse_unwritable(sample)
        self._file.write(plain_row(sample, self._folder))
        self._file.sync()

    def _clip(self, flag: Flag, content: str) -> Path:
        """The clip under the name of its content."""
        kept = self._folder / CLIPS / f"{content[:32]}{flag.suffix}"
        if not kept.exists():
            there = sum(one.stat().st_size for one in kept.parent.iterdir())
            if there + flag.clip.stat().st_size > MOST_BYTES:
                raise RefusedError(507, "flags_full", f"{MOST_BYTES >> 30} GiB of clips are kept already")
            write_file(kept, lambda part: shutil.copyfile(flag.clip, part))
        return kept
