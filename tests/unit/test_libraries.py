"""What libraries say as they are imported goes nowhere; what they say later is heard."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from vidapt.models.libraries import load_quietly


def test_a_library_is_imported_without_its_remarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "talks.py").write_text(
        "import logging\nlogging.getLogger('bitsandbytes.backends.cpu').warning('no kernels')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_quietly("talks").__name__ == "talks"
    assert not caplog.records
    with pytest.raises(ImportError):
        load_quietly("no_such_library")
    logging.getLogger("bitsandbytes.backends.cpu").warning("something else")
    assert [record.message for record in caplog.records] == ["something else"]
