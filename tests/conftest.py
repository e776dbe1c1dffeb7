"""Shared by all tests: one thread per worker, and nothing from a hub."""

from __future__ import annotations

import functools
import gc
import os

import pytest
import typer.testing
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# The same examples in every run, so that a red test means a change.
# `--hypothesis-profile=default` hunts for new ones.
# How long an example takes says more of the machine than of the code.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")

# A command line says each time anew what all its commands take; one that is asked in tests says it once.
typer.testing._get_command = functools.cache(typer.testing._get_command)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file are run by one worker, which makes what they share once.

    Files that belong together say so themselves.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_collection_finish() -> None:
    """Thousands of tests and all libraries stay until the end; what looks for garbage passes them over."""
    gc.collect()
    gc.freeze()
