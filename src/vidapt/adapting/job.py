"""What a user asks for, and where its results lie; a folder belongs to one job."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidapt.errors import ConfigError
from vidapt.files import exists, write_json
from vidapt.formats import fingerprint
from vidapt.nouns import Sample

NAME = "my-clips"


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        clips: A folder of clips.
        labels: A label file of any format; its paths start from its own folder or from `clips`. None takes
            the texts beside the clips.
        start: Model to begin with: name, run or checkpoint; None takes a shipped one.
        name: Of the run.
        test: Labels to measure on, which nothing is learned from; None holds some back.
        by: What names a session in a clip's path; see `curation.split`.
        changes: Changes to the recipe, such as `stages.0.epochs=2`.
        general: Labels of what the model is to go on knowing; measured, never learned from.
    """

    clips: Path
    labels: Path | None = None
    start: str | None = None
    name: str = NAME
    test: Path | None = None
    by: str | None = None
    changes: tuple[str, ...] = ()
    general: Path | None = None

    def of_data(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """What the divided labels depend on, for JSON; paths are whole.

        Args:
            samples: All that can be read of the labels.
        """
        paths = {"clips": self.clips, "labels": self.labels, "test": self.test}
        whole = {key: None if path is None else os.path.realpath(path) for key, path in paths.items()}
        return {**whole, "by": self.by, "fingerprint": fingerprint(samples)}

    def of_recipe(self) -> dict[str, Any]:
        """What the recipe depends on beside the labels, for JSON."""
        start = None if self.start is None else where_of(self.start)
        asked = {"start": start, "name": self.name, "changes": list(self.changes)}
        return asked if self.general is None else {**asked, "general": os.path.realpath(self.general)}


@dataclass(frozen=True)
class Places:
    """Where the results of a job lie.

    Attributes:
        root: Its folder.
    """

    root: Path

    @property
    def data(self) -> Path:
        """Folder of the divided labels."""
        return self.root / "data"

    @property
    def train(self) -> Path:
        """Labels to learn from."""
        return self.data / "train.jsonl"

    @property
    def val(self) -> Path:
        """Labels to choose by."""
        return self.data / "val.jsonl"

    @property
    def test(self) -> Path:
        """Labels to measure on."""
        return self.data / "test.jsonl"

    @property
    def recipe(self) -> Path:
        """What is trained."""
        return self.root / "recipe.yaml"

    @property
    def runs(self) -> Path:
        """Folder of the run's folder."""
        return self.root / "runs"

    @property
    def decisions(self) -> Path:
        """What was decided, and why."""
        return self.root / "decisions.json"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.root / "report.html"


def where_of(model: str) -> str:
    """A model's name as it is; its folder by its whole path."""
    path = Path(model)
    return os.path.realpath(path) if exists(path) else model


OWN = frozenset({"data", "recipe.yaml", "decisions.json"})
"""What a folder may hold of a job that was refused before it was begun."""


def refuse_strangers(root: Path) -> None:
    """See that a folder is empty, or that of a job.

    Raises:
        ConfigError: If it holds something else.
    """
    if not root.is_dir() or (root / "data" / "job.json").exists():
        return
    strange = [path.name for path in root.iterdir() if path.name not in OWN and not path.name.startswith(".")]
    if strange:
        raise ConfigError(
            root, f"holds {strange[0]}, and no adaptation was begun there", "name a new folder: --out"
        )


def claimed(file: Path, asked: Mapping[str, Any]) -> bool:
    """Whether a step was done before for the same that is asked now.

    Args:
        file: Where it was written down what was asked.
        asked: What is asked now.

    Raises:
        ConfigError: If it was done for something else.
    """
    if not file.exists():
        return False
    try:
        before = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(file, f"is damaged: {error}", "name a new folder with --out") from error
    changed = [_difference(key, before.get(key), now) for key, now in asked.items() if before.get(key) != now]
    if changed:
        told = "\n  ".join(changed)
        raise ConfigError(
            file,
            f"another job was begun here:\n  {told}",
            "give what was given before, or a new folder: --out",
        )
    return True


def claim(file: Path, asked: Mapping[str, Any]) -> None:
    """Write down what a step was done for."""
    write_json(file, dict(asked))


def _difference(key: str, before: Any, now: Any) -> str:
    if key == "fingerprint":
        return "the labels, or the clips they name, have changed since"
    return f"{key}: {before} before, {now} now"
