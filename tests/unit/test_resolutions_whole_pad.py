"""Numbers of the `whole` and `pad` resolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from vidapt.resolutions import pad, whole


def noise(height: int, width: int, frames: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    return torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8, generator=generator)


def cut(part: whole.Part | pad.Part, pixels: Tensor) -> Tensor:
    (view,) = part.cut(pixels, part.plan((pixels.shape[1], pixels.shape[2]), len(pixels)))
    return view


def pillow(pixels: Tensor, size: tuple[int, int], how: Image.Resampling) -> Tensor:
    image = Image.fromarray(pixels.numpy()).resize((size[1], size[0]), how)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


@pytest.mark.parametrize("name", ["bicubic", "bilinear"])
@pytest.mark.parametrize("shape", [(90, 160), (20, 12)])
def test_squash_is_pillows_resize(name: str, shape: tuple[int, int]) -> None:
    pixels = noise(*shape)
    part = whole.Part(whole.Part.Config(filter=name), size=(28, 28))
    expected = pillow(pixels[0], (28, 28), Image.Resampling[name.upper()])
    assert (cut(part, pixels)[0].int() - expected.int()).abs().max() <= 1


def test_area_is_the_mean_of_the_pixels_covered() -> None:
    pixels = noise(8, 12)
    part = whole.Part(whole.Part.Config(filter="area"), size=(4, 4))
    blocks = pixels[0].double().reshape(4, 2, 4, 3, 3).mean(dim=(1, 3)).permute(2, 0, 1)
    assert (cut(part, pixels)[0] - blocks).abs().max() <= 0.5 + 1e-9


@pytest.mark.parametrize("shape", [(60, 100), (101, 60), (28, 28), (10, 17), (1, 3)])
def test_crop_is_clips_short_side_and_centre(shape: tuple[int, int]) -> None:
    pixels, side = noise(*shape), 28
    part = whole.Part(whole.Part.Config(fit="crop"), size=(side, side))
    height, width = shape
    short = min(shape)
    grown = (max(side, side * height // short), max(side, side * width // short))
    whole_frame = pillow(pixels[0], grown, Image.Resampling.BICUBIC)
    top, left = (grown[0] - side) // 2, (grown[1] - side) // 2
    expected = whole_frame[:, top : top + side, left : left + side]
    assert (cut(part, pixels)[0].int() - expected.int()).abs().max() <= 1


def test_crop_of_a_very_long_frame_keeps_its_centre() -> None:
    pixels = torch.zeros(1, 2, 4001, 3, dtype=torch.uint8)
    pixels[:, :, 1996:2005] = 255
    view = cut(whole.Part(whole.Part.Config(fit="crop"), size=(16, 16)), pixels)
    assert (view == 255).all()


def test_crop_loses_the_ends_and_squash_keeps_them() -> None:
    pixels = torch.zeros(1, 20, 60, 3, dtype=torch.uint8)
    pixels[:, :, :10] = 255
    assert cut(whole.Part(whole.Part.Config(fit="crop"), size=(10, 10)), pixels).max() == 0
    assert cut(whole.Part(whole.Part.Config(fit="squash"), size=(10, 10)), pixels).max() == 255


def test_the_decoder_may_resize_for_squash() -> None:
    part = whole.Part(whole.Part.Config(filter="area", in_decoder=True), size=(6, 8))
    plan = part.plan((90, 160), 2)
    assert plan.decode == (6, 8)
    pixels = noise(6, 8, frames=2)
    (view,) = part.cut(pixels, plan)
    assert torch.equal(view, pixels.permute(0, 3, 1, 2))


@pytest.mark.parametrize("wrong", [{"fit": "crop", "filter": "area"}, {"filter": "bicubic"}])
def test_the_decoder_cannot_crop_nor_filter_bicubically(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="in_decoder needs"):
        whole.Part.Config(in_decoder=True, **wrong)


@pytest.mark.parametrize("shape", [(40, 100), (100, 40), (33, 34)])
def test_pad_is_pillows_resize_of_the_padded_square(shape: tuple[int, int]) -> None:
    pixels, colour = noise(*shape), (122, 116, 104)
    side = max(shape)
    square = Image.new("RGB", (side, side), colour)
    square.paste(Image.fromarray(pixels[0].numpy()), ((side - shape[1]) // 2, (side - shape[0]) // 2))
    expected = pillow(torch.from_numpy(np.asarray(square).copy()), (28, 28), Image.Resampling.BICUBIC)
    view = cut(pad.Part(pad.Part.Config(), size=(28, 28)), pixels)
    assert (view[0].int() - expected.int()).abs().max() <= 1


def test_padding_of_a_very_long_frame_has_the_colour_and_the_frame() -> None:
    pixels = torch.full((1, 2, 5000, 3), 250, dtype=torch.uint8)
    view = cut(pad.Part(pad.Part.Config(colour=(10, 20, 30)), size=(16, 16)), pixels)
    assert view[0, :, 0, 0].tolist() == [10, 20, 30]
    assert (view[0] == 250).all(dim=0).sum() == 16


def test_default_padding_is_clips_mean_truncated_as_llava_does() -> None:
    mean = (0.48145466, 0.4578275, 0.40821073)
    assert pad.Part.Config().colour == tuple(int(255 * m) for m in mean)
