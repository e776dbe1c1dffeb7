"""What every label format promises: samples come out one by one, and bad input is named."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vidapt.errors import VidaptError
from vidapt.nouns import Sample
from vidapt.parts import kinds

KINDS = kinds("formats")


@pytest.fixture(params=KINDS)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(f"vidapt.formats.{request.param}")


def read_tiny(module: ModuleType, folder: Path) -> list[Any]:
    return list(module.tiny().read(module.tiny_data(folder)))


def test_the_smallest_file_gives_samples(module: ModuleType, tmp_path: Path) -> None:
    samples = read_tiny(module, tmp_path)
    assert samples
    assert all(isinstance(sample, Sample) for sample in samples)
    assert len({sample.id for sample in samples}) == len(samples)
    assert all(sample.turns and sample.source for sample in samples)


def test_reading_twice_gives_the_same(module: ModuleType, tmp_path: Path) -> None:
    path = module.tiny_data(tmp_path)
    assert list(module.tiny().read(path)) == list(module.tiny().read(path))


def test_a_missing_file_is_named(module: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(VidaptError, match="absent"):
        list(module.tiny().read(tmp_path / "absent"))
