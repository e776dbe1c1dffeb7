"""Tests as tasks of lmms-eval: its keys, and the same scores as here."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from protocol_tools import ROWS, made, samples, scored
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError
from vidapt.measure.protocols.lmms_eval import METRICS, export_lmms_eval
from vidapt.measure.protocols.plan import plan_protocols
from vidapt.metrics.case_numbers import numbers

SAID = ("yes", "No.", "(B)", "A red ball", "", "yes or no", "The answer is (A)", "b", "no")


def opened(path: Path) -> dict[str, Any]:
    """A task as lmms-eval reads it: `!function` names a function of the file beside it."""
    spec = importlib.util.spec_from_file_location("task_utils", path.parent / "utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Loader(yaml.SafeLoader):
        pass

    def function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
        place, _, name = loader.construct_scalar(node).rpartition(".")
        assert place == "utils"
        return getattr(module, name)

    Loader.add_constructor("!function", function)
    task: dict[str, Any] = yaml.load(path.read_text(), Loader)
    return task


@pytest.mark.parametrize("kind", METRICS)
def test_scores_there_are_those_here(kind: str, tmp_path: Path) -> None:
    rows = samples(ROWS[kind])
    found = export_lmms_eval(rows, [kind], tmp_path, name="t")
    task = opened(tmp_path / f"t_{kind}.yaml")
    assert task["task"] == f"t_{kind}"
    assert task["dataset_path"] == "json"
    assert task["test_split"] == "test"
    file = tmp_path / task["dataset_kwargs"]["data_files"]["test"]
    docs = [json.loads(line) for line in file.read_text().splitlines()]
    assert found.tasks == {f"t_{kind}": len(docs)}
    assert len({frozenset(doc) for doc in docs}) == 1
    said = {doc["id"]: SAID[place % len(SAID)] for place, doc in enumerate(docs)}
    results = [task["process_results"](doc, [said[doc["id"]]]) for doc in docs]
    there = {
        one["metric"]: one["aggregation"]([result[one["metric"]] for result in results])
        for one in task["metric_list"]
    }
    part = made(kind)
    chosen = plan_protocols(rows, [kind], {}).chosen[0]
    here = numbers(part.measures, scored(part, list(chosen.told(said))), resamples=2).figures
    own = {
        "multiple_choice": {"accuracy": "accuracy", "all_right": "right in every order"},
        "pope": {"accuracy": "accuracy", "f1": "F1"},
        "fact_pairs": {"all_right": "both right"},
    }[kind]
    for name, measure in own.items():
        value = here[measure].value
        assert value is not None
        assert there[name] == pytest.approx(100 * value.value)
    for doc in docs:
        assert Path(task["doc_to_visual"](doc)[0]).is_absolute()
        assert task["doc_to_text"](doc, {"post_prompt": "!"}).endswith("!")
        assert task["process_results"](doc, [task["doc_to_target"](doc)])["accuracy"]["score"] == 1


def test_what_is_written_needs_no_vidapt(tmp_path: Path) -> None:
    export_lmms_eval(samples(ROWS["pope"]), ["pope"], tmp_path, name="t")
    text = (tmp_path / "utils.py").read_text()
    assert "import vidapt" not in text
    assert "from vidapt" not in text


def test_what_cannot_be_a_task_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written(?s:.*)multiple_choice, pope, fact_pairs"):
        export_lmms_eval(samples(ROWS["caption"]), ["caption"], tmp_path, name="t")
    with pytest.raises(ConfigError, match="no name of a task"):
        export_lmms_eval(samples(ROWS["pope"]), ["pope"], tmp_path, name="a b")


def test_the_command_writes_and_tells(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.gif").write_bytes(b"x")
    rows: Sequence[dict[str, Any]] = [
        {"id": n, "video": f"{n}.gif", "question": "which?", "options": ["red", "blue"], "answer": "red"}
        for n in range(2)
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    args = ["data", "tasks", str(tmp_path / "test.jsonl"), "--out", str(tmp_path / "tasks")]
    result = CliRunner().invoke(app, [*args, "--protocol", "multiple_choice"])
    assert result.exit_code == 0, result.output
    assert "--tasks vidapt_multiple_choice" in " ".join(result.output.split())
    rows[0]["start_s"] = 1.0
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = CliRunner().invoke(app, [*args, "--protocol", "multiple_choice"])
    assert result.exit_code == 2
    assert "vidapt data cut" in result.output
