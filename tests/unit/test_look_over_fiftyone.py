"""A dataset for FiftyOne, by those of its calls that its user guide shows; it is not needed here."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from clean_tools import caption, row, write_rows
from look_over_tools import labels
from PIL import Image
from typer.testing import CliRunner

from vidapt.captioning.rows import write_rows as write_captions
from vidapt.cli import app
from vidapt.looking_over.entries import Column
from vidapt.looking_over.fiftyone import export, field_names
from vidapt.looking_over.gather import Sources


class Label:
    """A label of the module below: a dynamic document."""

    def __init__(self, **told: Any) -> None:
        self.__dict__.update(told)


@dataclass
class FakeSample:
    filepath: str
    fields: dict[str, Any] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    metadata: Any = None

    def __setitem__(self, name: str, value: Any) -> None:
        self.fields[name] = value


class Detection(Label):
    @classmethod
    def from_timestamps(cls, timestamps: list[float], sample: FakeSample, **told: Any) -> Detection:
        assert (sample.metadata.total_frame_count, sample.metadata.frame_rate) == (30, 10)
        assert 0 <= timestamps[0] <= timestamps[1] <= sample.metadata.duration
        return cls(seconds=tuple(timestamps), **told)


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[FakeSample]]:
    made: dict[str, list[FakeSample]] = {}

    class Dataset:
        def __init__(self, name: str, *, persistent: bool) -> None:
            assert persistent
            self.name, made[name] = name, []

        def add_samples(self, samples: list[FakeSample]) -> None:
            if any(one.filepath.endswith("r3.mp4") for one in samples):
                raise ValueError("no room")
            made[self.name] += samples

        def delete(self) -> None:
            del made[self.name]

    module: Any = ModuleType("fiftyone")
    module.Dataset, module.Sample, module.TemporalDetection = Dataset, FakeSample, Detection
    module.VideoMetadata = SimpleNamespace
    module.TemporalDetections = module.Classifications = module.Classification = Label
    module.dataset_exists = made.__contains__
    monkeypatch.setitem(sys.modules, "fiftyone", module)
    return made


def test_files_become_samples_with_a_field_for_each_model(
    tmp_path: Path, datasets: dict[str, list[FakeSample]]
) -> None:
    labels(tmp_path, 2)
    rows = [
        row("r0", "It rolls from 0.5 to 1.5 s."),
        row("r1", "So.") | {"start_s": 1.0, "end_s": 2.0},
        row("r1b", "What?") | {"video": "r1.mp4"},
        row("gone", "Nothing."),
        row("cut", "Broken."),
    ]
    (tmp_path / "cut.mp4").write_bytes(b"no film")
    file = write_rows(tmp_path / "labels.jsonl", rows)
    said = write_rows(tmp_path / "Tuned v2.jsonl", [{"id": "r1", "answer": "Not so."}])
    captions = [caption(tmp_path, "r0.mp4", "A ball at 2.5–2.9 s.", prompt="what is it?")]
    write_captions(tmp_path / "captions.jsonl", captions)
    runs = [str(said), str(tmp_path / "captions.jsonl")]
    words = ["look-over", str(file), *runs, "--fiftyone", "pool", "--json"]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, done.stdout.strip()) == (0, '{"dataset": "pool", "samples": 2}')
    first, second = datasets["pool"]
    (label,) = first.fields["label"].detections
    assert (label.seconds, label.row, label.verdict) == ((0.5, 1.5), "r0", "keep")
    assert [one.seconds for one in second.fields["label"].detections] == [(1.0, 2.0), (0.0, 3.0)]
    (answer,) = second.fields["said_tuned_v2"].detections
    assert (answer.label, answer.row, second.tags) == ("Not so.", "r1", ["labels"])
    (spoken,) = first.fields["said_captions"].detections
    assert (spoken.seconds, spoken.row, spoken.question) == ((2.5, 2.9), "", "what is it?")
    again = CliRunner().invoke(app, words)
    assert (again.exit_code, "there is a dataset 'pool' already" in again.stderr) == (2, True)


def test_stills_are_classified_and_half_a_dataset_is_none(
    tmp_path: Path, datasets: dict[str, list[FakeSample]]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "still.png")
    labels(tmp_path, 4)
    film = row("r0", "A film.")
    still = row("s", "Black.") | {"video": "still.png"}
    assert export(Sources([write_rows(tmp_path / "a.jsonl", [still, film])]), "stills") == 1
    (sample,) = datasets["stills"]
    assert sample.fields["label"].classifications[0].label == "Black."
    with pytest.raises(ValueError, match="no room"):
        export(Sources([write_rows(tmp_path / "b.jsonl", [film, row("r3", "!")])]), "films")
    assert "films" not in datasets


def test_fields_have_names_that_differ() -> None:
    columns = [Column(name, "") for name in ("a/b", "a b", "ÄÖ", "x")]
    assert field_names(columns) == ["said_a_b", "said_a_b_2", "said_model", "said_x"]


def test_without_it_what_to_install_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    done = CliRunner().invoke(app, ["look-over", str(labels(tmp_path, 1)), "--fiftyone", "pool"])
    assert (done.exit_code, "pip install fiftyone" in done.stderr) == (2, True)
