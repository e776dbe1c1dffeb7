"""Ctrl-C and SIGTERM: between steps, or as exceptions, and never lost."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import pytest
import typer

from vidapt.cli._show import plain_errors
from vidapt.interrupt import Terminated, between_steps, terminable


@pytest.fixture(autouse=True)
def _as_at_a_terminal() -> Iterator[None]:
    """A test run in a shell's background ignores Ctrl-C."""
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)  # the signal ends it


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_a_signal_is_held_back_and_a_second_one_ends_at_once(
    number: signal.Signals, error: type[KeyboardInterrupt]
) -> None:
    def twice() -> None:
        with between_steps() as interrupted:
            assert interrupted() is None
            signal.raise_signal(number)
            assert type(interrupted()) is error
            send(number)

    before = signal.getsignal(number)
    with pytest.raises(error):
        twice()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_ends_as_shells_expect_and_says_how_to_go_on(
    number: signal.Signals, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, plain_errors("add --resume"):
        send(number)
    assert ended.value.exit_code == status
    assert "finished work is kept, add --resume to go on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_that_somebody_swallowed_comes_again() -> None:
    def swallowing() -> None:
        with terminable():
            with contextlib.suppress(Terminated):
                send(signal.SIGTERM)
            time.sleep(60)

    with pytest.raises(Terminated):
        swallowing()


def test_sigterm_comes_once_while_things_are_put_in_order() -> None:
    ordered = False

    def slow_to_leave() -> None:
        nonlocal ordered
        with terminable():
            try:
                send(signal.SIGTERM)
            finally:
                time.sleep(1.5)
                ordered = True

    with pytest.raises(Terminated):
        slow_to_leave()
    assert ordered


def test_where_sigterm_is_somebody_elses_it_stays_so() -> None:
    def theirs(*_: object) -> None:
        """Handle it."""

    signal.signal(signal.SIGTERM, theirs)
    with terminable():
        assert signal.getsignal(signal.SIGTERM) is theirs
    assert signal.getsignal(signal.SIGTERM) is theirs
