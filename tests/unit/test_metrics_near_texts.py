"""Near-duplicate texts are found by their hashes."""

from __future__ import annotations

import numpy as np
import pytest

from vidapt.metrics import near_texts


def test_texts_are_hashed_alike_in_however_many_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [tuple(f"w{(number * 7 + place) % 11}" for place in range(5)) for number in range(7)]
    texts[3] = ()
    whole = near_texts._signatures(texts)
    assert whole.shape == (7, near_texts._HASHES)
    monkeypatch.setattr(near_texts, "_TOGETHER", 2)
    assert (near_texts._signatures(texts) == whole).all()
    assert not (whole[0] == whole[1]).all()


def test_every_whole_band_of_hashes_finds_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two texts whose hashes are equal in the last band alone are candidates."""
    rows = near_texts._rows(0.9)
    signatures = np.arange(2 * near_texts._HASHES, dtype=np.uint32).reshape(2, -1)
    bands = near_texts._HASHES // rows
    last = slice((bands - 1) * rows, bands * rows)
    signatures[1, last] = signatures[0, last]
    monkeypatch.setattr(near_texts, "_signatures", lambda texts: signatures)
    assert list(near_texts.candidates([("a",), ("b",)], 0.9)) == [(0, 1)]
