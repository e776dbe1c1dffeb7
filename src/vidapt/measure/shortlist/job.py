"""`vidapt shortlist`: every model probed in a process of its own, compared, and put in order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vidapt.digests import digest
from vidapt.errors import ConfigError, FormatError, VidaptError, readable
from vidapt.files import write_json
from vidapt.measure.evaluation import Evaluation, read_evaluation
from vidapt.measure.paired import Paired, paired
from vidapt.measure.shortlist.found import Failed, Probe, Shortlist, in_order
from vidapt.measure.shortlist.probe import Wanted
from vidapt.progress import Reporter, silent

SHORTLIST = "shortlist.json"
_TOLD = 300


def shortlist(models: Sequence[str], wanted: Wanted, out: Path, report: Reporter = silent) -> Shortlist:
    """Probe models and put them in order.

    A model that was probed already, by the same questions, is not probed again; one that fails costs its row.

    Args:
        models: Names or paths.
        wanted: What all of them are asked; its `model` and `out` are filled in.
        out: Folder of all results, with a folder for each model.
        report: Told before each model, and at the end, how far it is.

    Raises:
        ConfigError: If a model is given twice, or none is.
        FormatError: If the labels cannot be read.
        VidaptError: If none of them can be probed.
    """
    if not models:
        raise ConfigError("MODEL", "no model is given", "name two or more")
    if len(set(models)) < len(models):
        raise ConfigError("MODEL", "one is given twice", "give each once")
    clips = len({sample.media[0] for sample in wanted.samples()})
    probes: list[Probe] = []
    failed: list[Failed] = []
    folders = {model: out / f"{number:02d}-{_short(model)}" for number, model in enumerate(models)}
    for number, (model, folder) in enumerate(folders.items()):
        report(f"probe {_short(model)}", number, len(models))
        found = _probed(replace(wanted, model=model, out=str(folder)), folder)
        (probes if isinstance(found, Probe) else failed).append(found)  # type: ignore[arg-type]
    report("probe", len(models), len(models))
    if not probes:
        raise VidaptError(
            failed[0].model, f"no model could be probed: {failed[0].reason}", "see the folders of models"
        )
    ordered = in_order(probes)
    result = Shortlist(ordered, failed, _beside(ordered, folders), clips)
    write_json(out / SHORTLIST, result.to_dict())
    return result


def _probed(wanted: Wanted, folder: Path) -> Probe | Failed:
    """What a process of its own finds; or what was found before, if nothing has changed."""
    folder.mkdir(parents=True, exist_ok=True)
    request, result = folder / "request.json", folder / "probe.json"
    asked = {**asdict(wanted), "key": _key(wanted)}
    kept = _kept(request, result, asked)
    if kept is not None:
        return kept
    result.unlink(missing_ok=True)
    write_json(request, asdict(wanted))
    command = [sys.executable, "-m", "vidapt.measure.shortlist.probe", str(request), str(result)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    if not result.exists():
        return Failed(wanted.model, _ended(done))
    found = json.loads(result.read_text(encoding="utf-8"))
    if "failed" in found:
        return Failed(wanted.model, found["failed"])
    write_json(request, asked)
    return Probe.from_json(found)


def _key(wanted: Wanted) -> str:
    """Of the labels and of the model's files, by their sizes and times."""
    paths = [Path(wanted.data), Path(wanted.model)]
    every = [path for root in paths if root.exists() for path in (root, *sorted(root.rglob("*")))]
    stats = [(str(path), os.stat(path)) for path in every if path.is_file()]  # noqa: PTH116 - symlinks followed
    return digest([(name, one.st_size, one.st_mtime_ns) for name, one in stats])


def _kept(request: Path, result: Path, asked: Mapping[str, Any]) -> Probe | None:
    try:
        if json.loads(request.read_text(encoding="utf-8")) != json.loads(json.dumps(asked)):
            return None
        return Probe.from_json(json.loads(result.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _ended(done: subprocess.CompletedProcess[bytes]) -> str:
    """Why a process left nothing."""
    if done.returncode < 0:
        killed = " (out of memory, most likely)" if done.returncode == -9 else ""
        return f"it was ended by signal {-done.returncode}{killed}"
    last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["it said nothing"]
    return readable(last[0])[:_TOLD]


def _beside(probes: Sequence[Probe], folders: Mapping[str, Path]) -> dict[str, Paired]:
    """What each language model gains in answers over the first one."""
    found: dict[str, Evaluation] = {}
    for one in probes:
        if one.answered is not None:
            found[one.model] = read_evaluation(folders[one.model] / "evaluation")
    if len(found) < 2:
        return {}
    try:
        return {one.name: one for one in paired(found)}
    except (ConfigError, FormatError):
        return {}


def _short(model: str) -> str:
    name = Path(model).name or "model"
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)[:80]
