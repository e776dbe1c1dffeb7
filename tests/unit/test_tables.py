"""Tables of the terminal: as many words as can be stay whole, and nothing is cut off."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidapt.adapting.bench import BEFORE_AND_AFTER, before_and_after
from vidapt.cli._show import _widths, table

HEAD = ["question type", "n", "accuracy", "95 % interval", "majority", "blind", "another clip", "one frame"]
WORDS = st.text("ab ", max_size=30)


def test_words_stay_whole_in_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table(HEAD, [["number_pocketed", 236, "100.0", "[b]63.3 - 93.3", "100.0", "100.0", "100.0", "100.0"]])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert {"question", "number_pocketed", "accuracy", "majority", "[b]63.3", "another"} <= set(shown.split())


def test_every_control_of_an_adapted_model_has_a_name() -> None:
    told = Mock(rows=lambda: [["count", "9", "50", "1 - 2", "10", "20", "30", "40", "50"]])
    assert [len(row) for row in before_and_after(told, told)] == [len(BEFORE_AND_AFTER)]


@given(st.lists(st.lists(WORDS, min_size=3, max_size=3), min_size=1, max_size=4), st.integers(10, 120))
def test_columns_fit_and_break_words_only_where_they_must(rows: list[list[str]], width: int) -> None:
    columns = list(zip(*rows, strict=True))
    between, widths = _widths(columns, width, len)
    assert sum(widths) + between * len(widths) <= width
    assert min(widths) >= 1
    words = [max((len(word) for text in column for word in text.split()), default=1) for column in columns]
    if sum(words) + len(words) <= width:
        assert all(found >= word for found, word in zip(widths, words, strict=True))
