"""Parts of a store of captions: who works on which, what is no part, and what rows cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from store_tools import CLIPS, counts, rows_of, run, write, write_clips

from _stub_engine import StubEngine
from vidapt.captioning.store.kept import _digits, _find
from vidapt.captioning.store.rows import priced
from vidapt.captioning.store.stores import jobs_of


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


def test_what_a_killed_process_wrote_beside_a_part_is_no_part(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "store", part=(1, 3))
    (job,) = jobs_of(tmp_path / "store")
    for name, held in ((".000000.parquet.abcd1234.parquet", job.parts[0].read_bytes()), (".x.parquet", b"")):
        (job.parts[0].parent / name).write_bytes(held)
    run(clips, tmp_path / "store", part=(2, 3))
    run(clips, tmp_path / "store", part=(3, 3))
    assert len(rows_of(tmp_path / "store")) == CLIPS


def test_parts_may_take_over_the_others_and_try_again_what_failed(clips: Path, tmp_path: Path) -> None:
    write(clips / "empty.mp4", b"")
    assert run(clips, tmp_path / "store", part=(2, 3), others=True).left == 0
    write(clips / "empty.mp4", b"full")
    assert run(clips, tmp_path / "store", part=(1, 3)).failed == 1
    done = run(clips, tmp_path / "store", part=(1, 3), others=True, again=True)
    assert counts(done) == (1, CLIPS, 0, 0)


def test_rows_tell_what_they_cost_where_a_price_is_known(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "free")
    assert {row["cost"] for row in rows_of(tmp_path / "free")} == {None}
    run(clips, tmp_path / "store", StubEngine(pause_s=0.01), price=7200.0)
    rows = rows_of(tmp_path / "store")
    assert [row["cost"] for row in rows] == pytest.approx([2 * row["seconds"] for row in rows])
    assert priced([{"cost": 3.0, "seconds": 1.0}], 1.0) == [{"cost": 3.0, "seconds": 1.0}]


def test_parts_without_a_newer_column_are_joined(clips: Path, tmp_path: Path) -> None:
    run(clips, tmp_path / "store", part=(1, 2))
    (job,) = jobs_of(tmp_path / "store")
    table = pq.read_table(job.parts[0]).drop_columns(["cost"])
    pq.write_table(table, job.parts[0])
    run(clips, tmp_path / "store", part=(2, 2))
    assert len(rows_of(tmp_path / "store")) == CLIPS


@given(st.lists(st.binary(min_size=12, max_size=12), min_size=1, unique=True))
@example([b"\0" * 12, b"a" * 11 + b"\0", b"a" * 10 + b"\0\0", b"\0" + b"a" * 11])
def test_hashes_are_found_whatever_bytes_they_end_in(hashes: list[bytes]) -> None:
    ordered = np.sort(np.array(hashes, "S12"))
    for one in hashes:
        at = _find(ordered, one.hex())
        assert at is not None
        assert _digits(ordered[at]) == one.hex()
