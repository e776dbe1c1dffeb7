"""Labels held against what a model sees: the whole job, which goes on wherever it was killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidapt.appended import Appended
from vidapt.errors import ConfigError
from vidapt.evidence.arms import Arm, open_arm
from vidapt.evidence.ask import Asking, ClipAnswers
from vidapt.evidence.folds import Folds, base_recipe, fold_of, trained
from vidapt.evidence.inputs import Inputs, provenance_of, read_inputs
from vidapt.evidence.provenance import read_provenance
from vidapt.evidence.results import Found, Place, judged, written
from vidapt.evidence.scores import Scored, Scores, Unusable
from vidapt.evidence.scoring import Scorer, clips_of
from vidapt.evidence.settings import Settings
from vidapt.evidence.summary import Summary, summary
from vidapt.evidence.verdicts import thresholds
from vidapt.files import check_file
from vidapt.labelling.lexicon import read_lexicon
from vidapt.loading import outline_model
from vidapt.locks import owned
from vidapt.nouns import Clip
from vidapt.progress import Reporter, silent

_DEFAULT = Settings()


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        labels: Label files of any format, folders, patterns.
        out: `NAME.jsonl`, the labels with the column `claims`.
        model: Scores all clips; None where folds are trained.
        folds: How models are trained that have not seen what they score; None where one is given.
        settings: When claims are supported.
        lexicon: Words that tell facts; None is the shipped file.
        also: Further models, in which a claim has to stand, too.
        frames: Further numbers of frames, likewise.
        sizes: Further sizes, each the longest side of pictures in pixels, likewise.
        kind: Format of the labels.
        options: Of the format.
        provenance: Further files of provenance.
        device: Where models run.
        workers: Decoding processes.
        batch: Clips scored together.
    """

    labels: Sequence[str | Path]
    out: Path
    model: str | None = None
    folds: Folds | None = None
    settings: Settings = _DEFAULT
    lexicon: Path | None = None
    also: Sequence[str] = ()
    frames: Sequence[int] = ()
    sizes: Sequence[int] = ()
    kind: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    provenance: Sequence[Path] = ()
    device: str = "cpu"
    workers: int | None = None
    batch: int = 8


def evidence(request: Request, report: Reporter = silent) -> Summary:
    """Score every answer of label files, claim by claim.

    Args:
        request: What is wanted.
        report: Shows progress.

    Raises:
        ConfigError: If options cannot be used or nothing can be scored, before work begins.
        FormatError: If labels are not there, or in no known format.
        CheckpointError: If there is no such model.
        TakenError: If another process writes to the same files.
    """
    place = Place.of(request.out)
    _check(request, place)
    with ExitStack() as held:
        held.enter_context(owned(place.out))
        inputs = read_inputs(request.labels, request.kind, request.options)
        told = read_provenance(provenance_of(request.labels, request.provenance))
        falsified = request.settings.calibrate == "falsified"
        asking = Asking(inputs.scored, read_lexicon(request.lexicon), told.parts, falsified=falsified)
        clips = list(clips_of([asking.row(sample) for sample in inputs.scored]))
        kept = Scores(held.enter_context(closing(Appended(place.scores))))
        arms = list(_arms(request, inputs, report))
        found = [
            _scored(arm, clips, kept, inputs, request, report, first=at == 0) for at, arm in enumerate(arms)
        ]
        pairs = [
            (clip, one) for clip, one in zip(clips, found[0].scored, strict=True) if isinstance(one, Scored)
        ]
        limits = thresholds(pairs, request.settings)
        rows = judged(clips, found, limits, request.settings, told)
        made = summary(place, inputs, clips, rows, found, limits, request.settings)
        written(place, inputs, clips, rows, found[0], made.to_dict())
    return made


def _check(request: Request, place: Place) -> None:
    if (request.model is None) == (request.folds is None):
        raise ConfigError(
            "evidence", "needs a model", "give either --model, or --start to train one for each fold"
        )
    place.refuse(request.labels)
    for file in place.files:
        check_file(file)
    if request.folds is not None and request.folds.count < 2:
        raise ConfigError("folds", f"{request.folds.count} cannot hold anything out", "give 2 or more")
    for name in (request.model, *request.also):  # further ones are opened after the first has scored all
        if name is not None:
            outline_model(name)


def _arms(request: Request, inputs: Inputs, report: Reporter) -> Iterator[Arm]:
    """What scores: the model (or one for each fold) first, then further models, numbers of frames, sizes."""
    if request.folds is None:
        assert request.model is not None
        own: Callable[[int], str | Path] = lambda fold: str(request.model)  # noqa: E731
        homes: Mapping[Clip, int] = {}
    else:
        recipe = base_recipe(request.folds)
        homes = fold_of(inputs.scored, request.folds, recipe, report)
        runs = {
            number: trained(number, inputs.scored, homes, request.folds, recipe, report)
            for number in range(1, request.folds.count + 1)
        }
        own = runs.__getitem__
    yield Arm("model", own, homes)
    for name in request.also:
        yield Arm(name, lambda fold, name=name: name, {})  # type: ignore[misc]
    for count in request.frames:
        yield Arm(f"{count} frames", own, homes, frames=count)
    for side in request.sizes:
        yield Arm(f"{side} pixels", own, homes, side=side)


def _scored(
    arm: Arm,
    clips: Sequence[ClipAnswers],
    kept: Scores,
    inputs: Inputs,
    request: Request,
    report: Reporter,
    *,
    first: bool,
) -> Found:
    """Score every clip by the model of its fold."""
    members: dict[int, list[int]] = {}
    for at, clip in enumerate(clips):
        members.setdefault(arm.fold(clip.clip), []).append(at)
    scored: dict[int, Scored | Unusable] = {}
    models: dict[int, str] = {}
    learned = 0
    for fold, places in sorted(members.items()):
        opened = open_arm(arm, fold, request.device)
        models[fold] = opened.engine.fingerprint
        others = first and request.settings.calibrate == "other"
        scorer = Scorer(opened.engine, kept, inputs.contents, others, request.batch, request.workers)
        some = [clips[at] for at in places]
        learned += sum(inputs.contents.get(clip.clip.path) in opened.learned for clip in some)
        task = f"score: {arm.name}" + (f", fold {fold}" if fold else "")
        scored |= zip(places, scorer.score(some, report, task), strict=True)
    return Found(arm, [scored[at] for at in range(len(clips))], models, learned)
