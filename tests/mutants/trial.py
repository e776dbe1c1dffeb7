"""One change tried in a process of its own, which has the heavy libraries from its parent."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Literal

import pytest

from mutants.changes import Mutant, changed

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "numpy",
    "pydantic",
    "av",
    "PIL",
    "hypothesis",
    "pytest",
    "safetensors",
)
OPTIONS = (
    *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"),
    # Of what is imported already, which is the point here.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
MOST_BYTES = 12 << 30
End = Literal["noticed", "survived", "too slow", "no test", "not run"]


@dataclass
class Trial:
    """A change that is being tried.

    Attributes:
        mutant: The change.
        process: Of the tests.
        until: When they are given up, by the monotonic clock.
    """

    mutant: Mutant
    process: int
    until: float


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles a changed tree in place of a file's."""

    def __init__(self, name: str, path: str, number: int) -> None:
        super().__init__(name, path)
        self._number = number

    def get_code(self, fullname: str) -> CodeType:
        """The changed module's code; nothing is read from or kept in caches."""
        path = self.get_filename(fullname)
        return compile(changed(self.get_data(path).decode(), self._number), path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module changed, before the ordinary finders do."""

    def __init__(self, module: str, path: Path, number: int) -> None:
        self._module, self._path, self._number = module, path, number

    def find_spec(
        self, fullname: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The changed module; None for every other."""
        if fullname != self._module:
            return None
        loader = _Loader(fullname, str(self._path), self._number)
        places = [str(self._path.parent)] if self._path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname, self._path, loader=loader, submodule_search_locations=places
        )


def import_heavy() -> None:
    """Import what no change touches, once for all trials."""
    for name in HEAVY:
        importlib.import_module(name)
    ours = [name for name in sys.modules if name.split(".")[0] == "vidapt"]
    assert not ours, f"already imported, so that no change would be seen: {ours}"


def begin(mutant: Mutant, tests: Sequence[str], seconds: float) -> Trial:
    """Run tests against a change, until one fails."""
    process = os.fork()
    if process == 0:
        try:
            os.setsid()
            status = _run(mutant, tests)
        except BaseException:  # noqa: BLE001 - a child must not return into its parent's loop
            status = 1
        os._exit(status)
    return Trial(mutant, process, time.monotonic() + seconds)


def ended(trial: Trial) -> End | None:
    """How a trial ended; None while it goes on."""
    process, status = os.waitpid(trial.process, os.WNOHANG)
    if process:
        return _told(os.waitstatus_to_exitcode(status))
    if time.monotonic() < trial.until:
        return None
    os.killpg(trial.process, signal.SIGKILL)
    os.waitpid(trial.process, 0)
    return "too slow"


def _told(code: int) -> End:
    """How a run of pytest ended, which a change may also have killed.

    A change with which a module cannot be imported makes its tests unknown, which pytest calls an error of
    usage; that they are known without it is seen before.
    """
    return "not run" if code == pytest.ExitCode.NO_TESTS_COLLECTED else "survived" if code == 0 else "noticed"


def _run(mutant: Mutant, tests: Sequence[str]) -> int:
    # A shell's background jobs ignore Ctrl-C, which some tests press.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    module = ".".join(mutant.path.with_suffix("").parts[1:]).removesuffix(".__init__")
    sys.meta_path.insert(0, _Finder(module, mutant.path.absolute(), mutant.number))
    with _silence():
        return int(pytest.main([*OPTIONS, *tests]))


@contextmanager
def _silence() -> Iterator[None]:
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(null, stream)
    yield
