"""What a user writes about cleaning: which checks, in which order, with which options."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vidapt.cleaning.labels import NOTHING, Check, Given
from vidapt.digests import digest
from vidapt.errors import ConfigError, nearest
from vidapt.parts import Family, PartConfig, find, kinds
from vidapt.yaml_lines import Lines, apply_overrides, describe, in_order, parse_yaml

CHECKS: Family = "cleaning.checks"


@dataclass(frozen=True)
class Cleaning:
    """Checks in their order.

    Attributes:
        checks: Options by the names of the checks.
    """

    checks: Mapping[str, PartConfig]

    def opened(self, given: Given = NOTHING) -> dict[str, Check]:
        """The checks by their names."""
        return {name: find(CHECKS, name)(cfg, given) for name, cfg in self.checks.items()}

    def plain(self) -> dict[str, Any]:
        """Names, versions and options, as JSON holds them."""
        return {
            name: {
                "version": find(CHECKS, name).version,
                **cfg.model_dump(mode="json"),
                **_content(name, cfg),
            }
            for name, cfg in self.checks.items()
        }

    @property
    def hash(self) -> str:
        """Hash of all that verdicts depend on beside the labels."""
        return digest(list(self.plain().items()))


def _content(name: str, cfg: PartConfig) -> dict[str, Any]:
    """What is in the files that a check reads, since its verdicts depend on it."""
    files: Mapping[str, Path] = getattr(find(CHECKS, name), "files", lambda _: {})(cfg)
    return {
        f"{field} is": hashlib.sha256(path.read_bytes()).hexdigest()[:24] for field, path in files.items()
    }


def shipped() -> Path:
    """The settings that come with the package."""
    return Path(str(importlib.resources.files("vidapt.cleaning") / "clean.yaml"))


def read_cleaning(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Cleaning:
    """Read settings.

    Args:
        path: A YAML file; None is the shipped one.
        overrides: `checks.length.times=4` entries, whose values are YAML.
        only: Checks that are asked, and no others; one that the file does not have gets its defaults.
        without: Checks that are not asked.

    Raises:
        ConfigError: Naming every mistake with its line.
    """
    file = path or shipped()
    data, lines = parse_yaml(file)
    if not isinstance(data, dict):
        raise ConfigError(file, "holds no settings", "write `checks:` and so on; copy the shipped ones")
    apply_overrides(data, overrides, lines)
    if wrong := sorted(map(str, data.keys() - {"checks"})):
        raise ConfigError(
            f"{file}: {lines.label((wrong[0],))}", f"{wrong[0]!r} is an unknown key", "`checks`"
        )
    checks = data.get("checks")
    if not isinstance(checks, dict):
        raise ConfigError(file, "`checks` is no mapping", "write `checks: {refusal: {}, ...}`")
    chosen = _chosen(checks, only, without)
    if not chosen:
        raise ConfigError(file, "no check is left", "name at least one")
    return Cleaning(_configured(file, chosen, lines))


def _chosen(checks: Mapping[str, Any], only: Sequence[str], without: Sequence[str]) -> dict[str, Any]:
    """Checks with their options, in the file's order; new ones behind."""
    known = {*kinds(CHECKS), *checks}
    for option, names in (("--only", only), ("--without", without)):
        for name in names:
            if name not in known and ":" not in name:
                raise ConfigError(option, f"there is no check {name!r}", nearest(name, known))
    listed = {**checks, **{name: {} for name in only if name not in checks}}
    return {
        name: options
        for name, options in listed.items()
        if (not only or name in only) and name not in without
    }


def _configured(file: Path, checks: Mapping[str, Any], lines: Lines) -> dict[str, PartConfig]:
    """Checks with their options understood; all mistakes at once."""
    problems: list[str] = []
    found: dict[str, PartConfig] = {}
    for name, options in checks.items():
        where = ("checks", name)
        try:
            config = find(CHECKS, name).Config
        except ConfigError as error:
            problems.append(f"{lines.label(where)}: checks.{name}: {error.found}; {error.remedy}")
            continue
        if options is not None and not isinstance(options, dict):
            problems.append(f"{lines.label(where)}: checks.{name}: options are a mapping, such as {{}}")
            continue
        try:
            found[name] = config.model_validate(options or {})
        except ValidationError as error:
            problems += describe(error, config, lines, where)
    if problems:
        raise ConfigError(file, f"{len(problems)} mistake(s)\n  " + "\n  ".join(in_order(problems)))
    return found
