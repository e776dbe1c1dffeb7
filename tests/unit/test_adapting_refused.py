"""What `vidapt adapt` cannot work with is told before work begins, with what to do about it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from adapt_tools import clips_in, conversation, footage, llava
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.locks import owned

RUN = CliRunner()


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return footage(tmp_path_factory.mktemp("given"), 10)


def refused(out: Path, *words: object) -> str:
    shown = RUN.invoke(app, ["adapt", *map(str, words), "--out", str(out), "--workers", "0", "--plan-only"])
    assert shown.exit_code == 2, shown.output
    assert "Traceback" not in shown.output
    return shown.output


def test_a_folder_that_is_not_there_or_none(given: tuple[Path, Path], tmp_path: Path) -> None:
    assert "no folder of clips" in refused(tmp_path / "out", tmp_path / "nowhere")
    assert "goes behind --labels" in refused(tmp_path / "out", given[1])
    assert not (tmp_path / "out").exists()


def test_a_folder_without_clips(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "notes.txt").write_text("nothing")
    assert "no clip is here" in refused(tmp_path / "out", tmp_path / "clips")


def test_clips_without_labels_are_told_how_to_label(given: tuple[Path, Path], tmp_path: Path) -> None:
    said = refused(tmp_path / "out", given[0])
    assert "10 clips and no label" in said
    assert "LLaVA JSON" in said


def test_a_label_file_among_the_clips_is_offered(given: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(given[0], tmp_path / "clips")
    shutil.copy(given[1], tmp_path / "clips" / "train.json")
    said = refused(tmp_path / "out", tmp_path / "clips")
    assert f"--labels {tmp_path / 'clips' / 'train.json'}" in said.replace("\n", "")


def test_too_few_clips_to_hold_some_back(given: tuple[Path, Path], tmp_path: Path) -> None:
    few = llava(tmp_path / "few.json", [f"{number:03d}.mp4" for number in range(9)])
    assert "9 clips have labels: too few" in refused(tmp_path / "out", given[0], "--labels", few)


def test_all_unsound_rows_and_missing_clips_are_told_at_once(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    rows = json.loads(given[1].read_text())
    rows[3]["video"] = "elsewhere/003.mp4"
    rows[5]["conversations"] = []
    rows.append({"id": "x", "video": "000.mp4", "conversations": [{"from": "human", "value": "what?"}]})
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(rows))
    said = refused(tmp_path / "out", given[0], "--labels", file)
    assert "3 thing(s) to mend" in said
    assert "elsewhere/003.mp4" in said
    assert "from that of the clips" in said
    assert not (tmp_path / "out" / "data").exists()


def test_a_test_set_that_shares_a_clip(given: tuple[Path, Path], tmp_path: Path) -> None:
    test = llava(tmp_path / "test.json", ["004.mp4"])
    said = refused(tmp_path / "out", given[0], "--labels", given[1], "--test", test)
    assert "take these clips out" in said
    assert "004.mp4" in said


def test_a_test_set_in_another_form(given: tuple[Path, Path], tmp_path: Path) -> None:
    said = refused(tmp_path / "out", given[0], "--labels", given[1], "--test", given[0])
    assert "in another form" in said


def test_a_base_that_is_not_there(given: tuple[Path, Path], tmp_path: Path) -> None:
    said = refused(tmp_path / "out", given[0], "--labels", given[1], "--start", "billiards-hone")
    assert "billiards-home" in said


def test_a_device_that_is_not_there(given: tuple[Path, Path], tmp_path: Path) -> None:
    said = refused(tmp_path / "out", given[0], "--labels", given[1], "--device", "cuda:97")
    assert "cuda:97" in said
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else(given: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    assert "thesis.tex" in refused(tmp_path, given[0], "--labels", given[1])


def test_a_wrong_change_can_be_mended_and_other_labels_cannot(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    out, words = tmp_path / "out", (given[0], "--labels", given[1])
    assert "epoch" in refused(out, *words, "--set", "stages.0.epoch=1")
    mended = RUN.invoke(
        app,
        [
            "adapt",
            *map(str, words),
            "--out",
            str(out),
            "--workers",
            "0",
            "--plan-only",
            "--set",
            "stages.0.epochs=1",
            "--json",
        ],
    )
    assert mended.exit_code == 0, mended.output
    plan = json.loads(mended.stdout)
    assert [stage["clips"] for stage in plan["stages"]] == [6, 6]
    other = llava(tmp_path / "other.json", [f"{number:03d}.mp4" for number in range(10)])
    rows = [conversation(f"{number:03d}.mp4", number + 1) for number in range(10)]
    other.write_text(json.dumps(rows))
    said = refused(out, given[0], "--labels", other)
    assert "another job was begun here" in said
    assert "have changed since" in said


def test_a_folder_in_which_somebody_works(given: tuple[Path, Path], tmp_path: Path) -> None:
    with owned(tmp_path / "out"):
        assert "another process" in refused(tmp_path / "out", given[0], "--labels", given[1])


def test_texts_beside_some_of_the_clips_are_enough(tmp_path: Path) -> None:
    for path in clips_in(tmp_path / "clips" / "monday", 6) + clips_in(tmp_path / "clips" / "tuesday", 6, 6):
        if path.stem != "003":
            path.with_suffix(".txt").write_text(f"ball {path.stem} runs over the whole table and stops.")
    out = tmp_path / "out"
    shown = RUN.invoke(
        app, ["adapt", str(tmp_path / "clips"), "--out", str(out), "--workers", "0", "--plan-only"]
    )
    assert shown.exit_code == 0, shown.output
    told = json.loads((out / "decisions.json").read_text())
    decided = {one["about"]: one["what"] for one in told}
    assert decided["clips without labels"] == "1 are not learned from"
    rows = [(out / "data" / f"{part}.jsonl").read_text().splitlines() for part in ("train", "val", "test")]
    assert sum(map(len, rows)) == 11


def test_broken_clips_and_clips_elsewhere_are_told_and_cost_no_more(tmp_path: Path) -> None:
    clips, _ = footage(tmp_path, 11)
    (clips / "004.mp4").write_bytes(b"no film at all" * 100)
    (elsewhere,) = clips_in(tmp_path / "usb", 1, 20)
    names = [f"{number:03d}.mp4" for number in range(11)]
    labels = llava(tmp_path / "labels.json", [*names, str(elsewhere)])
    out = tmp_path / "out"
    words = ["adapt", str(clips), "--labels", str(labels), "--out", str(out), "--workers", "0", "--plan-only"]
    shown = RUN.invoke(app, words)
    assert shown.exit_code == 0, shown.output
    decided = {one["about"]: one for one in json.loads((out / "decisions.json").read_text())}
    assert decided["broken clips"]["what"] == "1 are left out"
    assert "004.mp4" in decided["broken clips"]["why"]
    assert decided["clips elsewhere"]["what"] == "1 are used"
    for path in clips.glob("*.mp4"):
        path.write_bytes(b"no film at all" * 100)
    elsewhere.write_bytes(b"")
    assert "cannot be used" in refused(tmp_path / "other", clips, "--labels", labels)


def test_a_general_set_that_names_no_clip_is_told_before_anything_is_decoded(
    given: tuple[Path, Path], tmp_path: Path
) -> None:
    general = llava(tmp_path / "general.json", ["000.mp4", "001.mp4"])
    said = refused(tmp_path / "out", given[0], "--labels", given[1], "--general", general)
    assert "2 thing(s) to mend" in said
    assert "its own folder" in said.replace("\n", " ")
    assert "decode" not in said
    assert not (tmp_path / "out" / "recipe.yaml").exists()


def test_a_wrong_path_is_told_before_torch_is_imported(given: tuple[Path, Path], tmp_path: Path) -> None:
    asked = ["adapt", str(given[0]), "--labels", str(tmp_path / "nope.json"), "--out", str(tmp_path / "out")]
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom vidapt.cli import app\n"
        "shown = CliRunner().invoke(app, sys.argv[1:])\n"
        "assert shown.exit_code == 2 and 'no such file' in shown.output, shown.output\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, *asked], check=True)
