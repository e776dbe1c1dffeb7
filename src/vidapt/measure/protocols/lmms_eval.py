"""Tests written as tasks of lmms-eval, which reads answers there as they are read here.

Its tasks are YAML files that name functions beside them; see its docs/task_guide.md. What needs a judge or
likelihoods is not written: there it would be another measure.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from vidapt.errors import ConfigError
from vidapt.files import check_folder, write_text
from vidapt.measure.asking import plain
from vidapt.measure.protocols import lmms_utils
from vidapt.measure.protocols.plan import Chosen, plan_protocols
from vidapt.metrics import match
from vidapt.metrics.cases import Case
from vidapt.metrics.protocols import _read
from vidapt.nouns import Sample
from vidapt.version import VERSION

METRICS: Mapping[str, tuple[str, ...]] = {
    "multiple_choice": ("accuracy", "all_right"),
    "pope": ("accuracy", "f1"),
    "fact_pairs": ("all_right", "accuracy"),
}
"""Protocols that can be written, and their measures there."""

_OWN_IMPORT = re.compile(r"^from vidapt\.[\w.]+ import .*\n", re.MULTILINE)
_FUTURE = "from __future__ import annotations\n"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        tasks: Names of tasks, with how many rows each has.
        folder: Where they are.
    """

    tasks: Mapping[str, int]
    folder: Path

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"tasks": dict(self.tasks), "folder": str(self.folder)}


def export_lmms_eval(
    rows: Sequence[Sample],
    kinds: Sequence[str],
    out: Path,
    *,
    name: str,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Exported:
    """Write a test as tasks: for each protocol a YAML file and its rows, and the code that reads answers.

    Args:
        rows: The test.
        kinds: Protocols; empty takes those that the rows name.
        out: Folder; made if missing.
        name: What tasks begin with.
        options: Of protocols, by their names.

    Raises:
        ConfigError: If a protocol cannot be written, or a row is about a stretch of a film.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ConfigError("--name", f"{name!r} is no name of a task", "use letters, digits and _")
    plan = plan_protocols(rows, kinds, options or {})
    for one in plan.chosen:
        if one.kind not in METRICS:
            raise ConfigError(
                one.kind,
                "cannot be written as a task: it needs a judge, likelihoods, or reading of its own",
                f"can be: {', '.join(METRICS)}",
            )
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "utils.py", utils_text())
    tasks = {}
    for one in plan.chosen:
        task = f"{name}_{one.kind}"
        docs = [doc for case in one.cases for doc in _docs(one, case)]
        write_text(out / f"{task}.jsonl", "".join(json.dumps(doc) + "\n" for doc in docs))
        write_text(out / f"{task}.yaml", _yaml(task, one.kind))
        tasks[task] = len(docs)
    return Exported(tasks, out)


def utils_text() -> str:
    """Code that stands beside tasks, all that it needs of vidapt with it."""
    modules: tuple[ModuleType, ...] = (match, _read, lmms_utils)
    sources = [_OWN_IMPORT.sub("", inspect.getsource(module)).replace(_FUTURE, "") for module in modules]
    head = (
        f'"""Reads answers to this test as vidapt {VERSION} does, of whose code it is a copy."""\n\n{_FUTURE}'
    )
    return "\n\n".join([head, *(_without_title(source) for source in sources)])


def _without_title(source: str) -> str:
    """A module's text without its first docstring."""
    return re.sub(r'\A""".*?"""\n', "", source, count=1, flags=re.DOTALL).strip() + "\n"


def _docs(chosen: Chosen, case: Case) -> Iterator[dict[str, Any]]:
    clip = case.clip
    if clip.start_s or clip.end_s is not None:
        raise ConfigError(
            case.row, "is about a stretch of a film, which a task cannot say", "cut it first: vidapt data cut"
        )
    names = chosen.questions[case.id]
    for number, (name, posed) in enumerate(zip(names, case.posed, strict=True)):
        doc: dict[str, Any] = {
            "id": name,
            "case": case.id,
            "source": case.source,
            "kind": case.kind,
            "video": str(clip.path.absolute()),
            "question": plain(posed.text),
            "answer": posed.reference,
            "accept": list(posed.accept),
            "reading": "letter" if chosen.kind == "multiple_choice" else "yes or no",
            # Every row has the same keys: a table is made of them.
            "options": list(case.truth["options"][number]) if "options" in case.truth else [],
            "right": int(case.truth["right"][number]) if "options" in case.truth else -1,
        }
        if chosen.kind == "multiple_choice":
            doc["question"] = posed.text  # its lines are the options
        yield doc


def _yaml(task: str, kind: str) -> str:
    metrics = "".join(
        f"  - metric: {name}\n    aggregation: !function utils.{name}\n    higher_is_better: true\n"
        for name in METRICS[kind]
    )
    return f"""# Written by vidapt {VERSION}.
task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {task}.jsonl
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: !function utils.doc_to_target
process_results: !function utils.process_results
generation_kwargs:
  max_new_tokens: 32
  temperature: 0
  do_sample: false
cluster_key: source
score_key: score
metric_list:
{metrics}lmms_eval_specific_kwargs:
  default:
    pre_prompt: ""
    post_prompt: ""
metadata:
  version: 1.0
"""
