"""Folders of strangers that describe more than they hold: refused by name, in little time and memory."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compose_tools
import parity_tools as parity
import pytest
import torch
from compose_refusal_tools import copied, edit, refused
from safetensors.torch import load_file, save_file
from training_tools import blueprint, tokenizer

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import open_checkpoint, open_dual_encoder, read_tokenizer
from vidapt.hub._template import FAILURES, render
from vidapt.models.bounds import Bound, bounded
from vidapt.models.folder import open_folder, save_model
from vidapt.models.video_lm import VideoLM
from vidapt.recipe import Blueprint

Made = Callable[..., list[str]]
SECONDS = 60.0
"""Far more than a refusal takes, far less than what it spares."""


@pytest.fixture(autouse=True)
def _quick() -> Any:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SECONDS


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llava")
    parity.save(parity.llava(), folder)
    return folder


def llava(published: Path, place: Path, part: str, **fields: Any) -> Path:
    folder = copied(str(published), place)
    config = json.loads((folder / "config.json").read_text())
    config[part].update(fields)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("part", "fields", "said"),
    [
        ("text_config", {"num_hidden_layers": 999}, "more than 660 weights"),
        ("vision_config", {"num_hidden_layers": 999}, "more than 660 weights"),
        ("text_config", {"vocab_size": 10**12}, "a tensor of 32,000,000,000,000 numbers"),
        ("text_config", {"vocab_size": 10**8}, "a tensor of 3,200,000,000 numbers"),
        ("text_config", {"intermediate_size": 10**9}, "a tensor of 32,000,000,000 numbers"),
        ("text_config", {"hidden_size": 10**9, "head_dim": 10**9}, "a tensor of"),
    ],
)
def test_a_model_is_no_larger_than_its_weights(
    published: Path, tmp_path: Path, part: str, fields: dict[str, Any], said: str
) -> None:
    folder = llava(published, tmp_path, part, **fields)
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(folder)
    assert f"config.json: describes a model with {said}" in str(error.value)
    assert "the weights that are there are 80 tensors" in str(error.value)


def test_a_model_of_ours_is_no_larger_than_its_weights(tmp_path: Path) -> None:
    save_model(tmp_path / "m", VideoLM(Blueprint.model_validate(blueprint())), tokenizer(), {})
    file = tmp_path / "m" / "blueprint.json"
    told = json.loads(file.read_text())
    for fields in ({"num_hidden_layers": 900}, {"vocab_size": 10**9}):
        file.write_text(json.dumps({**told, "language": {**told["language"], **fields}}))
        with pytest.raises(CheckpointError, match=r"blueprint\.json: describes a model with "):
            open_folder(tmp_path / "m")


@pytest.mark.parametrize(
    "fields", [{"num_hidden_layers": 999}, {"vocab_size": 10**9}, {"intermediate_size": 10**9}]
)
def test_a_part_is_no_larger_than_its_weights(made: Made, tmp_path: Path, fields: dict[str, Any]) -> None:
    eyes, words = made("clip", "llama")
    many = copied(words, tmp_path)
    edit(many / "config.json", **fields)
    said = refused([{"weights": eyes}], {"weights": str(many)})
    assert "blueprint.language.weights: " in said
    assert "describes a model with " in said


def test_towers_are_no_larger_than_their_weights(made: Made, tmp_path: Path) -> None:
    words, eyes, both = made("llama", "dinov2", "clip")
    many = copied(eyes, tmp_path)
    edit(many / "config.json", num_hidden_layers=999)
    assert "describes a model with more than" in refused([{"weights": str(many)}], {"weights": words})
    pair = copied(both, tmp_path)
    config = json.loads((pair / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 999
    (pair / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="describes a model with more than"):
        open_dual_encoder(pair)


def test_tables_that_are_computed_are_bounded_before_they_are_made() -> None:
    bound = Bound.of([(10, 10)], Path("config.json"))
    with bounded(bound):
        rows = torch.arange(2000)
        assert (rows[:, None] * rows).shape == (2000, 2000)
        wide = torch.arange(1 << 20)
        with pytest.raises(CheckpointError, match="a tensor of 1,099,511,627,776 numbers"):
            wide[:, None] * wide
        with pytest.raises(CheckpointError, match="a tensor of 10,000,000,000,000 numbers"):
            torch.ones(10**7, 10**6)


def test_a_hundred_thousand_unknown_tensors(published: Path, tmp_path: Path) -> None:
    folder = copied(str(published), tmp_path)
    state = load_file(folder / "model.safetensors")
    state |= {f"x.{index}": torch.zeros(1) for index in range(100_000)}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"(?s)1000 tensor\(s\) belong to no part.* at least"):
        open_checkpoint(folder)


# Tokenizers

TWICE = {"type": "Replace", "pattern": {"Regex": "."}, "content": "aa"}
LONG = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 5000}
MAP = base64.b64encode((0).to_bytes(4, "little") + b"x" * 5000 + b"\0").decode()
ITSELF = {"Sequence": {"id": "A", "type_id": 0}}
MARK = {"SpecialToken": {"id": "x", "type_id": 0}}


def template(*single: Any, ids: int = 1) -> dict[str, Any]:
    known = {"x": {"id": "x", "ids": [0] * ids, "tokens": ["x"] * ids}}
    return {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": known}


@pytest.mark.parametrize(
    ("what", "step", "said"),
    [
        ("normalizer", {"type": "Sequence", "normalizers": [TWICE] * 64}, "letters of one"),
        ("normalizer", LONG, "its normalizer makes 5,000 letters of one"),
        ("normalizer", {"type": "Precompiled", "precompiled_charsmap": MAP}, "makes 5,000 letters of one"),
        ("normalizer", {"type": "Prepend", "prepend": "a" * 10**6}, "and adds 1,000,000"),
        ("decoder", {"type": "Sequence", "decoders": [TWICE] * 64}, "its decoder makes"),
        ("post_processor", template(*[ITSELF] * 1000), "writes a text 1,000 times"),
        ("post_processor", template(ITSELF, MARK, ids=10**6), "1,000,000 tokens around"),
        ("post_processor", {"type": "Sequence", "processors": [template(ITSELF, ITSELF)] * 64}, "times"),
    ],
)
def test_a_tokenizer_that_explodes_is_not_used(
    made: Made, tmp_path: Path, what: str, step: dict[str, Any], said: str
) -> None:
    words = copied(made("llama")[0], tmp_path)
    edit(words / "tokenizer.json", **{what: step})
    with pytest.raises(CheckpointError) as error:
        read_tokenizer(words)
    assert f"{words / 'tokenizer.json'}: " in str(error.value)
    assert said in str(error.value)


def test_what_published_tokenizers_do_is_read(made: Made, tmp_path: Path) -> None:
    words = copied(made("llama")[0], tmp_path)
    steps = [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Prepend", "prepend": "_"}, TWICE]
    edit(words / "tokenizer.json", normalizer={"type": "Sequence", "normalizers": steps})
    assert len(read_tokenizer(words)("a").input_ids) >= 2


def test_other_files_of_a_tokenizer_are_bounded(made: Made, tmp_path: Path) -> None:
    words = copied(made("llama")[0], tmp_path)
    edit(words / "tokenizer_config.json", extra_ids=10**9)
    with pytest.raises(CheckpointError, match="extra_ids is 1,000,000,000"):
        read_tokenizer(words)
    words = copied(made("llama")[0], tmp_path / "again")
    edit(words / "config.json", num_hidden_layers=10**9)
    with pytest.raises(ConfigError, match="no model has more than 1000"):
        read_tokenizer(words)


# Templates

LOOP = "{% for a in 'aaaaaaaa' %}{% for b in 'aaaaaaaa' %}"
END = "{% endfor %}{% endfor %}"
DOUBLING = {
    "concatenated": "{% set n = namespace(x='a') %}" + LOOP + "{% set n.x = n.x ~ n.x %}" + END,
    "added": "{% set n = namespace(x='a') %}" + LOOP + "{% set n.x = n.x + n.x %}" + END,
    "joined": "{% set n = namespace(x='a') %}" + LOOP + "{% set n.x = [n.x, n.x] | join %}" + END,
    "replaced": "{% set n = namespace(x='a') %}" + LOOP + "{% set n.x = n.x | replace('a', 'aa') %}" + END,
    "captured": "{% set x = 'a' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 64,
    "called": "{% macro f(x) %}{{ x }}{{ x }}{% endmacro %}{% set x = 'a' %}" + "{% set x = f(x) %}" * 64,
    "printed": "{% set x = 'a' %}" + "{% set x = [x, x] | string %}" * 64,
    "written": LOOP * 4 + "a" + END * 4,
}


@pytest.mark.parametrize("name", DOUBLING)
def test_a_template_that_doubles_a_text_is_stopped(name: str) -> None:
    with pytest.raises(FAILURES, match="any published template"):
        render(DOUBLING[name], {}, [{"messages": []}])


def test_a_stranger_is_refused_in_little_memory(tmp_path: Path) -> None:
    """In a process of its own, which could not take more: what aborts or is killed has no message."""
    (words,) = compose_tools.make(tmp_path, "llama")
    folder = Path(words)
    edit(folder / "tokenizer.json", normalizer={"type": "Sequence", "normalizers": [TWICE] * 40})
    edit(folder / "config.json", vocab_size=10**9)
    (folder / "chat_template.jinja").write_text(DOUBLING["concatenated"])
    code = (
        "import resource, sys\n"
        "from vidapt.errors import VidaptError\n"
        "from vidapt.hub import read_tokenizer\n"
        "from vidapt.hub._chat import Marks, own_template, prompt_of\n"
        "from vidapt.hub._parts import published_part\n"
        "from vidapt.recipe import Prompt\n"
        "from pathlib import Path\n"
        "folder = Path(sys.argv[1])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for use in (read_tokenizer, published_part):\n"
        "    try:\n        use(folder)\n    except VidaptError as error:\n        print(error.found)\n"
        "print(prompt_of(own_template(folder).text, Prompt(), Marks()))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    tokens, sizes, prompt, kilobytes = done.stdout.splitlines()
    assert "its normalizer makes" in tokens
    assert "describes a model with a tensor of" in sizes
    assert prompt == "None"
    assert int(kilobytes) < 500_000
