"""Every file in a part folder has the same shape, so that a new part is one new file and no list changes."""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType

import pytest
from pydantic import ValidationError

from vidapt.parts import FAMILIES, Family, PartConfig, configure, find, kinds

PARTS = [(family, kind) for family in FAMILIES for kind in kinds(family)]
SOURCE = re.compile(r"\bSource: \S+|\barXiv \d{4}\.\d{4,5}\b|\b(19|20)\d\d\b")
"""`Source: ...`, an arXiv number, or a citation with its year."""


@pytest.fixture(params=PARTS, ids=[f"{family}.{kind}" for family, kind in PARTS])
def part(request: pytest.FixtureRequest) -> tuple[Family, str, ModuleType]:
    family, kind = request.param
    return family, kind, importlib.import_module(f"vidapt.{family}.{kind}")


def test_part_folders_are_not_empty() -> None:
    assert [family for family in FAMILIES if not kinds(family)] == []


def test_module_holds_a_part_found_by_its_name(part: tuple[Family, str, ModuleType]) -> None:
    family, kind, module = part
    assert find(family, kind) is module.Part
    assert module.Part.__module__ == module.__name__


def test_config_is_frozen_and_refuses_unknown_keys(part: tuple[Family, str, ModuleType]) -> None:
    family, kind, module = part
    assert issubclass(module.Part.Config, PartConfig)
    assert module.Part.Config.model_config["frozen"] is True
    with pytest.raises(ValidationError, match="no_such_key"):
        configure(family, {"kind": kind, "no_such_key": 1})


def test_tiny_gives_an_instance_that_remembers_its_config(part: tuple[Family, str, ModuleType]) -> None:
    _, _, module = part
    instance = module.tiny()
    assert isinstance(instance, module.Part)
    assert isinstance(instance.cfg, module.Part.Config)
    if instance.cfg.model_fields_set:
        field = next(iter(instance.cfg.model_fields_set))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(instance.cfg, field, None)


def test_config_survives_a_round_trip_through_plain_data(part: tuple[Family, str, ModuleType]) -> None:
    _, _, module = part
    config = module.tiny().cfg
    assert module.Part.Config.model_validate(config.model_dump(mode="json")) == config


def test_module_says_what_it_is_and_where_it_comes_from(part: tuple[Family, str, ModuleType]) -> None:
    family, _, module = part
    if family != "formats":  # a format's source is the file it reads
        assert SOURCE.search(module.__doc__ or ""), "the module docstring names no source"
    public = [
        member
        for name, member in inspect.getmembers(module.Part, inspect.isroutine)
        if not name.startswith("_") and name in vars(module.Part)
    ]
    for member in [module.Part, module.Part.Config, module.tiny, *public]:
        assert inspect.getdoc(member), member
