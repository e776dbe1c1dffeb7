"""`vidapt eval`: a model by name, labels by path, and a folder with verdicts, numbers and a report."""

from __future__ import annotations

from pathlib import Path

from vidapt.formats import open_samples
from vidapt.inference.load import load
from vidapt.measure.evaluate import CONTROLS, Evaluation, evaluate, world_judge
from vidapt.measure.report import write_report
from vidapt.models.generate import Decoding
from vidapt.progress import Reporter, silent


def evaluate_model(
    model: str | Path,
    data: Path,
    out: Path,
    *,
    train_data: Path | None = None,
    controls: bool = True,
    kind: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    max_tokens: int = 128,
    report: Reporter = silent,
) -> Evaluation:
    """Evaluate a model on a label file and write `report.html` beside the numbers.

    Args:
        model: See `inference.load.load`.
        data: Label file or folder of clips with questions and answers.
        out: Folder of the evaluation.
        train_data: Labels the majority answer is learned from.
        kind: Format of the labels; None tells it from their content.
        controls: Whether the model is also asked without the clip and with another one.
        workers: Decoding processes; None is one per core.
        device: Where the model runs.
        max_tokens: Longest answer.
        report: Shows progress.

    Raises:
        VidaptError: If the model or the labels cannot be used; see `evaluate`.
    """
    samples = list(open_samples(data, kind))
    evaluation = evaluate(
        load(model, device=device),
        samples,
        out=out,
        decoding=Decoding(max_new_tokens=max_tokens),
        train_samples=None if train_data is None else list(open_samples(train_data, kind)),
        controls=CONTROLS if controls else (),
        workers=workers,
        judge=world_judge(data if data.is_dir() else data.parent),
        report=report,
    )
    run = Path(model) if (Path(model) / "run.json").is_file() else None
    write_report(out / "report.html", {evaluation.name: evaluation}, run=run)
    return evaluation
