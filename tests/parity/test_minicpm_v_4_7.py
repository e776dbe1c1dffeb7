"""Our MiniCPM-V 4.7 gives transformers' logits and words, on its canvas of positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import minicpm_tools as minicpm
import modern_tools as modern
import parity_tools as tools
import pytest
from test_minicpm_v_4_6 import CONVERSATIONS, Opened, difference
from torch import Tensor

from vidapt import parts
from vidapt.errors import CheckpointError
from vidapt.hub import minicpm_v_4_7, open_checkpoint


@pytest.fixture(scope="module")
def oracle() -> Any:
    return minicpm.oracle_of(4.7)


@pytest.fixture(scope="module")
def folder(oracle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return minicpm.save(oracle, tmp_path_factory.mktemp("minicpm"))


@pytest.fixture
def opened(oracle: Any, folder: Path) -> Opened:
    model, tokenizer, report = open_checkpoint(folder)
    assert report.family == "minicpm_v_4_7"
    return oracle, model, tokenizer


@pytest.mark.parametrize("clips", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_ids_and_logits_equal_the_originals(opened: Opened, clips: list[Tensor]) -> None:
    assert difference(opened, [clips]) < tools.TOLERANCE


def test_rows_of_a_batch_equal_the_original_one_by_one(opened: Opened) -> None:
    assert difference(opened, list(CONVERSATIONS.values())) < tools.TOLERANCE


def test_greedy_words_equal_the_originals_in_a_batch_of_mixed_lengths(opened: Opened) -> None:
    oracle, model, tokenizer = opened
    rows = [CONVERSATIONS[name] for name in ("stills", "video")]
    mine = [modern.ours(model, tokenizer, clips, minicpm.slot_of(tokenizer)) for clips in rows]
    for clips, words in zip(rows, modern.our_words(model, mine), strict=True):
        oracle.model.rope_deltas = None
        assert words == minicpm.read(model, tokenizer, clips).write(oracle)
        assert len(set(words)) > 3


@pytest.mark.parametrize("spec", [{"kind": "rope1d"}, {"cell": (1, 2)}, {"newline": 1, "image": (1, 2)}])
def test_other_positions_break_parity(opened: Opened, spec: dict[str, Any]) -> None:
    model = opened[1]
    usual = {} if "kind" in spec else model.blueprint.positions
    model.positions = parts.build("positions", {**usual, **spec})
    assert difference(opened, [CONVERSATIONS["still"]]) > 10 * tools.TOLERANCE


def test_marks_without_ids_are_refused(oracle: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no slice_end_id, newline_id"):
        minicpm_v_4_7.blueprint(
            {**oracle.config.to_dict(), "slice_end_id": None, "newline_id": None}, tmp_path
        )
