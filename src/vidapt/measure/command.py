"""`vidapt eval`: models by name, labels by path, and a folder with verdicts, numbers and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from vidapt.chat.remote import is_remote, read_remote
from vidapt.curation.versions import check_version
from vidapt.errors import ConfigError, nearest
from vidapt.files import write_json
from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.asking import Asked, Control
from vidapt.measure.evaluate import ALL_CONTROLS, CONTROLS, Evaluation, evaluate, world_judge
from vidapt.measure.judging import ClaimJudge
from vidapt.measure.overlap import refuse_trained_on
from vidapt.measure.paired import HEAD, Paired, paired
from vidapt.measure.predicted import evaluate_predictions, is_predictions, read_predictions
from vidapt.measure.remote_engine import RemoteEngine
from vidapt.measure.report import Section, write_report
from vidapt.measure.verdicts import METRICS
from vidapt.models.decoding import Decoding
from vidapt.nouns import Sample
from vidapt.progress import Reporter, silent


@dataclass(frozen=True)
class Asking:
    """What models are asked, and with what.

    Attributes:
        data: Label file or folder of clips with questions and answers.
        train_data: Labels the majority answer is learned from.
        controls: Controls that are asked, too.
        kind: Format of the labels; None tells it from their content.
        media_root: Where the media of both lie; None is each label file's own folder.
        workers: Decoding processes; None is one per core.
        device: Where models run.
        max_tokens: Longest answer.
        by: What clips are taken from, as `evaluate` has it.
        report: Shows progress.
        given: Questions in place of those of the data.
        overlap: Whether a run may be asked about clips that it was trained on.
    """

    data: Path
    train_data: Path | None = None
    controls: Sequence[Control] = CONTROLS
    kind: str | None = None
    media_root: Path | None = None
    workers: int | None = None
    device: str = "cpu"
    max_tokens: int = 128
    by: str | None = None
    report: Reporter = silent
    given: Sequence[Sample] | None = None
    overlap: bool = False

    @cached_property
    def samples(self) -> list[Sample]:
        """The questions."""
        return self._read(self.data) if self.given is None else list(self.given)

    @cached_property
    def learned(self) -> list[Sample] | None:
        """Labels that the majority answer is learned from."""
        return None if self.train_data is None else self._read(self.train_data)

    def _read(self, labels: Path) -> list[Sample]:
        check_version(labels)
        options = {} if self.media_root is None else {"media_root": self.media_root}
        return list(open_samples(labels, self.kind, **options))

    def of(self, model: str | Path, out: Path, name: str) -> Evaluation:
        """Evaluate a model, one behind a server, or a file of answers."""
        judge = world_judge(self.data if self.data.is_dir() else self.data.parent)
        if is_predictions(model):
            given = read_predictions(Path(model))
            return evaluate_predictions(
                given,
                self.samples,
                name=name,
                out=out,
                train_samples=self.learned,
                judge=judge,
                by=self.by,
            )
        if is_remote(model):
            with RemoteEngine(read_remote(Path(model)), out) as engine:
                return self._evaluate(cast("Asked", engine), out, judge)
        if not self.overlap:
            refuse_trained_on(Path(model), self.samples, self.data)
        return self._evaluate(load(model, device=self.device), out, judge)

    def _evaluate(self, engine: Asked, out: Path, judge: ClaimJudge | None) -> Evaluation:
        return evaluate(
            engine,
            self.samples,
            out=out,
            decoding=Decoding(max_new_tokens=self.max_tokens),
            train_samples=self.learned,
            controls=self.controls,
            workers=self.workers,
            judge=judge,
            by=self.by,
            report=self.report,
        )


def controls_of(text: str) -> tuple[Control, ...]:
    """Controls by their names between commas, or `all`, or `none`.

    Raises:
        ConfigError: If there is no such control.
    """
    if text in ("all", "none"):
        return ALL_CONTROLS if text == "all" else ()
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ALL_CONTROLS:
            raise ConfigError("--controls", f"there is none called {name!r}", nearest(name, ALL_CONTROLS))
    return tuple(control for control in ALL_CONTROLS if control in names)


@dataclass(frozen=True)
class Compared:
    """Several models on the same questions.

    Attributes:
        evaluations: By name.
        differences: Of each but the first from the first.
    """

    evaluations: Mapping[str, Evaluation]
    differences: Sequence[Paired]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "models": {name: one.to_dict() for name, one in self.evaluations.items()},
            "differences": [one.to_dict() for one in self.differences],
        }

    def tables(self) -> list[tuple[Sequence[str], list[list[str]]]]:
        """Scores of each model, and differences from the first one: columns and rows of each table."""
        alone = [{row[0]: row for row in one.rows()} for one in self.evaluations.values()]
        scores = [
            [kind, row[1], *(table[kind][2] if kind in table else "-" for table in alone)]
            for kind, row in alone[0].items()
        ]
        head = ("question type", "n", *self.evaluations)
        return [(head, scores), (HEAD, [one.row() for one in self.differences])]


def evaluate_model(model: str | Path, asking: Asking, out: Path) -> Evaluation:
    """Evaluate a model, or a file of answers, and write `report.html` beside the numbers.

    Args:
        model: See `inference.load.load`; or a file, see `measure.predicted` and `chat.remote`.
        asking: What it is asked.
        out: Folder of the evaluation.

    Raises:
        VidaptError: If the model or the labels cannot be used; see `evaluate`.
    """
    evaluation = asking.of(model, out, Path(model).stem)
    write_report(out / "report.html", {evaluation.name: evaluation}, run=_run(model))
    return evaluation


def evaluate_models(models: Sequence[str | Path], asking: Asking, out: Path) -> Compared:
    """Evaluate several models on the same questions, and compare each with the first.

    Each has a folder of its own in `out`, beside `metrics.json` and `report.html` about all of them; one that
    is evaluated already is not asked again.

    Args:
        models: Two or more; see `evaluate_model`.
        asking: What they are asked.
        out: Folder of all results.

    Raises:
        ConfigError: If a model is given twice.
        VidaptError: If one cannot be used, or the labels cannot.
    """
    names = model_names(models)
    found = {name: asking.of(model, out / name, name) for name, model in names.items()}
    compared = Compared(found, paired(found))
    write_json(out / METRICS, compared.to_dict())
    last = list(names.values())[-1]
    rows = [one.row() for one in compared.differences]
    sections = [Section(f"Beside {next(iter(found))}", HEAD, rows)]
    write_report(
        out / "report.html",
        found,
        title=" · ".join(found),
        run=_run(last),
        sections=sections,
        notes=[_HOW_SURE],
    )
    return compared


_HOW_SURE = (
    "Differences are paired, question by question, with intervals over clips. p is of the exact McNemar "
    "test over all questions, corrected for the number of models by Holm's method; it takes the questions "
    "of a clip for independent. 'Could tell' is the smallest difference that such data tells from none in "
    "four cases of five."
)


def _run(model: str | Path) -> Path | None:
    return Path(model) if (Path(model) / "run.json").is_file() else None


def model_names(models: Sequence[str | Path]) -> dict[str, str | Path]:
    """Models by short names that tell them apart.

    Raises:
        ConfigError: If one is given twice.
    """
    names: dict[str, str | Path] = {}
    for model in models:
        path = Path(model)
        if str(model) in map(str, names.values()):
            raise ConfigError(model, "is given twice", "give each model once")
        short = path.stem if is_predictions(model) or is_remote(model) else path.name or "model"
        longer = f"{path.absolute().parent.name}-{short}"
        name = short if short not in names else longer
        names[name if name not in names else f"{name}-{len(names) + 1}"] = model
    return names
