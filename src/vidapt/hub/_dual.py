"""Open dual encoders: sizes are read from the tensors' shapes, and every tensor finds its place or fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor

from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub._files import FLOATS, INDEX, WEIGHTS, load, read_json_if_there, stored
from vidapt.hub._keys import Renamed, Shape, check
from vidapt.hub._pickled import read_pickled
from vidapt.hub._report import LoadReport
from vidapt.models.assign import assign, parameters_on_meta
from vidapt.models.bounds import Bound, bounded
from vidapt.models.dual_encoder import DualBlueprint, DualEncoder
from vidapt.recipe import Spec, Text

HEAD = 64
"""Every published CLIP splits its width into heads of 64."""

Heads = tuple[int, int]
"""How many the vision and the text tower have."""

Edit = Callable[[DualBlueprint], DualBlueprint]
"""Changes a blueprint before the model is built."""

_PICKLED = (".pt", ".pth", ".bin")

_IMPOSSIBLE = (ArithmeticError, LookupError, RuntimeError, StrictDataclassError, TypeError, ValueError)
"""What sizes and names that cannot be raise in pydantic, transformers and torch."""


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read the tensors of a file or folder, and its `config.json` if it has one.

    Args:
        path: A `.pt` file; a folder with safetensors; or a folder with one `.pt` file.

    Raises:
        CheckpointError: If there is nothing to read, or it is damaged.
    """
    if not path.is_dir():
        return read_pickled(path), None
    config = read_json_if_there(path / "config.json")
    if (path / WEIGHTS).is_file() or (path / INDEX).is_file():
        return dict(load(path, stored(path))), config
    files = pickled_files(path)
    if len(files) != 1:
        raise CheckpointError(
            path, f"has no {WEIGHTS}, and {len(files)} files of pickled weights", "give the file itself"
        )
    return read_pickled(files[0]), config


def files_of(path: Path) -> tuple[str, ...]:
    """Names of the files that `read_weights` reads."""
    if not path.is_dir():
        return (path.name,)
    if (path / WEIGHTS).is_file() or (path / INDEX).is_file():
        return tuple(sorted({entry.file for entry in stored(path).values()}))
    return tuple(file.name for file in pickled_files(path))


def pickled_files(folder: Path) -> list[Path]:
    """Files of pickled weights in a folder."""
    return sorted(file for file in folder.iterdir() if file.suffix in _PICKLED)


class Shapes:
    """Sizes of CLIP's towers, read from the shapes of tensors.

    Args:
        shapes: By our names.
        where: The tensors' file, for errors.
    """

    def __init__(self, shapes: Mapping[str, Shape], where: Path) -> None:
        self._shapes, self._where = shapes, where

    def side(self, key: str, axis: int) -> int:
        """Length of an axis of a tensor.

        Raises:
            CheckpointError: If there is no such tensor or axis.
        """
        shape = self._shapes.get(key)
        if shape is None or len(shape) <= axis:
            raise CheckpointError(
                self._where, f"{key} is missing, or no such tensor", "the file is of another model"
            )
        return shape[axis]

    def vision(self, place: str, projection: str | None = None, *, heads: int | None = None) -> Spec:
        """Configuration of a vision tower.

        Args:
            place: Name of its module.
            projection: Name of the [E, C] projection, where it matters.
            heads: How many it has; None: as many of 64 numbers as there is room for.

        Raises:
            CheckpointError: If a tensor that tells a size is missing, or sizes contradict one another.
        """
        patch = self.side(f"{place}.embeddings.patch_embedding.weight", 2)
        cells = self.side(f"{place}.embeddings.position_embedding.weight", 0) - 1
        rows = round(max(0, cells) ** 0.5)
        if rows < 1 or rows * rows != cells:
            raise CheckpointError(
                self._where, f"positions for {cells} patches, which is no square", "the file is damaged"
            )
        sizes = {"image_size": rows * patch, "patch_size": patch}
        if projection is not None:
            sizes["projection_dim"] = self.side(projection, 0)
        return self._tower("clip_vision_model", place, sizes, heads)

    def text(self, place: str, table: str, projection: str, *, heads: int | None = None) -> Spec:
        """Configuration of a text tower.

        Args:
            place: Name of its module.
            table: Name of the table of positions.
            projection: Name of the [E, width] projection.
            heads: As `vision` takes it.

        Raises:
            CheckpointError: As `vision`.
        """
        sizes = {
            "vocab_size": self.side(f"{place}.embeddings.token_embedding.weight", 0),
            "max_position_embeddings": self.side(table, 0),
            "projection_dim": self.side(projection, 0),
            # Only transformers' own pooling reads these, and they must lie in the vocabulary.
            "bos_token_id": 0,
            "eos_token_id": 0,
            "pad_token_id": 0,
        }
        return self._tower("clip_text_model", place, sizes, heads)

    def _tower(self, kind: str, place: str, sizes: Mapping[str, int], heads: int | None) -> Spec:
        width = self.side(f"{place}.encoder.layers.0.layer_norm1.weight", 0)
        if heads is None and width % HEAD:
            raise CheckpointError(
                self._where,
                f"a width of {width} does not split into heads of {HEAD}",
                "it is no published CLIP; open it with `heads=(of vision, of text)`",
            )
        count = width // HEAD if heads is None else heads
        if count < 1 or width % count:
            raise CheckpointError(
                self._where, f"a width of {width} does not split into {count} heads", "give another number"
            )
        stem = f"{place}.encoder.layers."
        layers = {key[len(stem) :].partition(".")[0] for key in self._shapes if key.startswith(stem)}
        return {
            "model_type": kind,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "hidden_size": width,
            "intermediate_size": self.side(f"{stem}0.mlp.fc1.weight", 0),
            "num_hidden_layers": len(layers),
            "num_attention_heads": count,
            **sizes,
        }


def build(
    tower: Spec,
    text: Text,
    width: int,
    where: Path,
    *,
    held: Iterable[Tensor],
    resolution: Spec | None = None,
    edit: Edit | None = None,
) -> DualEncoder:
    """A dual encoder without memory for its weights.

    Args:
        tower: The vision tower.
        text: The text tower.
        width: E, of the space in which both meet.
        where: File or folder that describes them, for errors.
        held: The weights that are there, which bound what is built.
        resolution: Frames to the tower's view; None is the blueprint's own choice.
        edit: Changes the blueprint before the model is built.

    Raises:
        CheckpointError: If sizes that were read do not make one.
    """
    try:
        with bounded(Bound.of((tensor.shape for tensor in held), where)), parameters_on_meta():
            blueprint = DualBlueprint(tower=tower, text=text, width=width)
            if resolution is not None:
                blueprint = blueprint.model_copy(update={"resolution": resolution})
            return DualEncoder(blueprint if edit is None else edit(blueprint))
    except (ConfigError, *_IMPOSSIBLE) as error:
        raise CheckpointError(where, f"describes no dual encoder: {error}", "fetch it again") from error


def fill(
    model: DualEncoder,
    table: Renamed,
    tensors: Mapping[str, Tensor],
    initial: Mapping[str, Tensor],
    *,
    family: str,
    where: Path,
    dtype: torch.dtype | None,
) -> LoadReport:
    """Put every tensor in its place.

    Args:
        model: Made by `build`.
        table: The file's names to ours.
        tensors: By the file's names.
        initial: Weights that the file does not hold and that start from these values: named exceptions.
        family: For the report.
        where: File or folder.
        dtype: Number format of the weights in memory; None keeps each as it is stored.

    Raises:
        CheckpointError: Naming every tensor that is missing, unknown or of another shape.
    """
    own = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if tensor.is_meta}
    found = {new: tuple(tensors[old].shape) for old, new in table.names.items()}
    origin = {new: f"{old} in {where.name}" for old, new in table.names.items()}
    check({key: shape for key, shape in own.items() if key not in initial}, found, origin, where)
    odd = [old for old in table.names if tensors[old].dtype not in FLOATS]
    if odd:
        raise CheckpointError(
            where, f"{odd[0]!r} holds {tensors[odd[0]].dtype}", "quantised weights cannot be adapted"
        )
    given = {**{new: tensors[old] for old, new in table.names.items()}, **initial}
    assign(model, given.items(), dtype, where)
    model.eval()
    return LoadReport(
        family=family,
        folder=str(where),
        files=files_of(where),
        names=table.names,
        missing=(),
        unexpected=(),
        initialised=tuple(sorted(initial)),
        ignored=dict(table.ignored),
        dtype="as stored" if dtype is None else str(dtype).removeprefix("torch."),
        read=lambda: _pairs(table.names, tensors),
    )


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Shapes by name."""
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def under_our_names(table: Renamed, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by our names."""
    return {new: tensors[old] for old, new in table.names.items()}


def no_video_lm(family: str, where: Path) -> CheckpointError:
    """What to say where a dual encoder is asked for captions."""
    return CheckpointError(
        where,
        f"a {family} model compares clips with texts and writes none",
        f"open it with vidapt.hub.{family}.open_dual_encoder, or use it as a tower",
    )


def _pairs(names: Iterable[str], tensors: Mapping[str, Tensor]) -> Sequence[tuple[str, Tensor]]:
    return [(name, tensors[name]) for name in names]
