"""Sources of parts, made once for all tests that compose models; places that may not be looked at."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Paths of sources by name; see `compose_tools.MAKERS`."""
    import compose_tools

    folder = tmp_path_factory.mktemp("sources")
    return lambda *names: compose_tools.make(folder, *names)


@pytest.fixture
def unprivileged(request: pytest.FixtureRequest) -> Iterator[None]:
    """Rights count for this test, even where root runs it."""
    if request.config.pluginmanager.hasplugin("_cov"):
        pytest.skip("without rights, what is covered could not be written down")
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """A folder that everybody may enter and write, as may its parents be entered."""
    tmp_path.chmod(0o777)
    for folder in tmp_path.parents:
        if os.access(folder, os.W_OK) and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    return tmp_path
