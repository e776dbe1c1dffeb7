"""Sources of parts, made once for all tests that compose models."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Paths of sources by name; see `compose_tools.MAKERS`."""
    import compose_tools

    folder = tmp_path_factory.mktemp("sources")
    return lambda *names: compose_tools.make(folder, *names)
