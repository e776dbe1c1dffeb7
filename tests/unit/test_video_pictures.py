"""Stills of every kind of pixels, and animations, as a viewer shows them."""

from __future__ import annotations

import importlib.util
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from vidapt.errors import BrokenClip
from vidapt.nouns import Clip, Frames
from vidapt.video import Limits, Times, Uniform, decode, probe

RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (32, 1))


def take(path: Path, count: int = 1, **more: object) -> Frames:
    return decode(Clip("clip", path), Uniform(count=count), **more)  # type: ignore[arg-type]


def tiff(path: Path, values: np.ndarray, **tags: int) -> Path:
    """An uncompressed TIFF of numbers as they are, which Pillow does not write for all of them."""
    kinds = {"u": 1, "i": 2, "f": 3}
    order = ">" if values.dtype.byteorder == ">" else "<"
    entries = {
        256: values.shape[1],
        257: values.shape[0],
        258: values.dtype.itemsize * 8,
        259: 1,
        262: tags.get("photometric", 1),
        273: 8,
        277: 1,
        278: values.shape[0],
        279: values.nbytes,
        339: kinds[values.dtype.kind],
    }
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + values.nbytes)
    fields = [
        struct.pack(order + "HHI", tag, 4, 1) + struct.pack(order + "I", value)
        if tag not in (258, 259, 262, 277, 339)
        else struct.pack(order + "HHIHH", tag, 3, 1, value, 0)
        for tag, value in entries.items()
    ]
    path.write_bytes(
        head + values.tobytes() + struct.pack(order + "H", len(fields)) + b"".join(fields) + bytes(4)
    )
    return path


RAMPS = {
    "16 bits": RAMP.astype("<u2") * 257,
    "16 bits, Motorola": (RAMP.astype(np.uint16) * 257).astype(">u2"),
    "32 bits": RAMP.astype("<u4") * 16843009,
    "32 bits of which 16 are used": RAMP.astype("<u4") * 257,
    "32 bits of which 8 are used": RAMP.astype("<u4"),
    "32 bits with a sign": RAMP.astype("<i4") * 8421504,
    "fractions": RAMP.astype("<f4") / 255,
    "Motorola's fractions": (RAMP.astype(np.float32) / 255).astype(">f4"),
}


@pytest.mark.parametrize("name", RAMPS)
def test_greys_of_every_depth_go_from_black_to_white(tmp_path: Path, name: str) -> None:
    frames = take(tiff(tmp_path / "ramp.tif", RAMPS[name]))
    assert abs(frames.pixels[0].astype(int) - RAMP[..., None]).max() <= 1
    assert frames.notes == ()


@pytest.mark.parametrize("values", [RAMP * -40.0 + 7, RAMP.astype(float), RAMP - 128.0])
def test_numbers_without_a_white_of_their_own_are_stretched_and_that_is_told(
    tmp_path: Path, values: np.ndarray
) -> None:
    frames = take(tiff(tmp_path / "ramp.tif", values.astype("<f4")))
    share = (values - values.min()) / np.ptp(values)
    assert abs(frames.pixels[0, ..., 0] - 255 * share).max() <= 0.51
    assert "stretched" in frames.notes[0]


def test_numbers_that_are_none(tmp_path: Path) -> None:
    values = RAMPS["fractions"].copy()
    values[:4], values[4:8], values[8:12] = np.nan, np.inf, -np.inf
    shown = take(tiff(tmp_path / "ramp.tif", values)).pixels[0, ..., 0]
    assert [np.unique(shown[at]).tolist() for at in (0, 4, 8)] == [[0], [255], [0]]
    assert abs(shown[12:].astype(int) - RAMP[12:]).max() <= 1
    flat = take(tiff(tmp_path / "flat.tif", np.full((4, 4), np.nan, "<f4")))
    assert flat.pixels.max() == 0


def test_white_may_be_zero(tmp_path: Path) -> None:
    frames = take(tiff(tmp_path / "ramp.tif", RAMPS["16 bits"], photometric=0))
    assert abs(255 - frames.pixels[0].astype(int) - RAMP[..., None]).max() <= 1


def test_a_png_of_16_bits(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "ramp.png")
    assert abs(take(tmp_path / "ramp.png").pixels[0].astype(int) - RAMP[..., None]).max() <= 1
    dark = RAMP.astype(np.uint16) * 25
    Image.fromarray(dark).save(tmp_path / "dark.png")
    assert take(tmp_path / "dark.png").pixels.max() == 25


HIDDEN = np.zeros((32, 32, 4), np.uint8)
HIDDEN[...] = (255, 0, 255, 0)
HIDDEN[8:24, 8:24] = (0, 160, 0, 255)
HIDDEN[:4, :4] = (0, 0, 0, 128)


def is_shown(pixels: np.ndarray, *, half: bool = True, at: int = 0) -> None:
    """Nothing hidden shows; `at` is how many columns the picture was moved."""
    pixels = np.roll(pixels, -at, 1).astype(int)
    assert pixels[30, 28].tolist() == [255, 255, 255]
    assert abs(pixels[16, 16] - (0, 160, 0)).max() < 4
    if half:
        assert abs(pixels[1, 1] - 127).max() < 3


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".avif"])
def test_what_is_transparent_shows_white(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(HIDDEN).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    is_shown(take(path).pixels[0])


@pytest.mark.parametrize("kind", ["palette.png", "palette.gif", "key.png", "grey key.png"])
def test_a_colour_that_stands_for_nothing_shows_white(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    opaque = Image.fromarray(HIDDEN[..., :3])
    if kind.startswith("palette"):
        few = opaque.quantize(8)
        few.save(path, transparency=few.getpixel((31, 31)))
        is_shown(take(path).pixels[0], half=False)
    elif kind == "key.png":
        opaque.save(path, transparency=(255, 0, 255))
        is_shown(take(path).pixels[0], half=False)
    else:
        Image.fromarray(RAMP.astype(np.uint16) * 257).save(path, transparency=0)
        assert take(path).pixels[0, 0, :2].tolist() == [[255] * 3, [4] * 3]


def test_grey_and_transparent(tmp_path: Path) -> None:
    Image.fromarray(HIDDEN).convert("LA").save(tmp_path / "a.png")
    assert take(tmp_path / "a.png").pixels[0, 31, 31].tolist() == [255] * 3


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_transparent_frames_of_an_animation(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    first, *others = [Image.fromarray(np.roll(HIDDEN, 2 * n, 1)) for n in range(4)]
    more = {"disposal": 2} if suffix != ".webp" else {"lossless": True}
    first.save(path, save_all=True, append_images=others, duration=100, **more)
    assert probe(path).frames == 4
    for number, pixels in enumerate(take(path, 4).pixels):
        is_shown(pixels, half=suffix != ".gif", at=2 * number)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".tif", ".jpg", ".png", ".webp"])
def test_orientation_counts_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    picture = np.zeros((40, 64, 3), np.uint8)
    picture[:20, :32] = 255
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        Image.fromarray(picture).save(path, tiffinfo={0x0112: orientation})
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(picture).save(path, exif=exif)
    frame = take(path).pixels[0]
    assert frame.shape[:2] == ((64, 40) if orientation > 4 else (40, 64))
    assert (probe(path).height, probe(path).width) == frame.shape[:2]
    half = (frame.shape[0] // 2, frame.shape[1] // 2)
    corners = [frame[: half[0], : half[1]], frame[: half[0], half[1] :]]
    corners += [frame[half[0] :, : half[1]], frame[half[0] :, half[1] :]]
    lit = [corner.mean() > 200 for corner in corners]
    assert lit.index(True) == {1: 0, 2: 1, 3: 3, 4: 2, 5: 0, 6: 1, 7: 3, 8: 2}[orientation]
    assert lit.count(True) == 1


def test_an_orientation_behind_the_pixels_is_found_without_decoding_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import PngImagePlugin

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (64, 40)).save(tmp_path / "a.png", exif=exif)
    data = (tmp_path / "a.png").read_bytes()
    at = data.index(b"eXIf") - 4
    size = 12 + int.from_bytes(data[at : at + 4])
    chunk, rest = data[at : at + size], data[:at] + data[at + size :]
    (tmp_path / "late.png").write_bytes(rest[:-12] + chunk + rest[-12:])
    assert (probe(tmp_path / "late.png").width, probe(tmp_path / "late.png").height) == (40, 64)
    assert take(tmp_path / "late.png").pixels.shape == (1, 64, 40, 3)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", None)
    assert probe(tmp_path / "a.png").width == 40


def flat(level: int) -> Image.Image:
    return Image.new("RGB", (16, 16), (level,) * 3)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_default_image_is_no_frame(tmp_path: Path, frames: int) -> None:
    path = tmp_path / "a.png"
    others = [flat(50 * n) for n in range(1, frames + 1)]
    flat(250).save(path, save_all=True, default_image=True, append_images=others, duration=200)
    found = probe(path)
    assert (found.frames, found.duration_s) == (frames, pytest.approx(0.2 * frames if frames > 1 else 0))
    assert found.kind == ("animation" if frames > 1 else "still")
    shown = take(path, frames).pixels[:, 0, 0, 0].tolist()
    assert shown == [50 * n for n in range(1, frames + 1)]


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_delays_are_read_without_decoding(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    delays = [100, 0, 400, 10, 5000]
    first, *others = [flat(40 * n) for n in range(5)]
    first.save(path, save_all=True, append_images=others, duration=delays, lossless=True)
    monkeypatch.setattr(Image.Image, "seek", None)
    monkeypatch.setattr(Image.Image, "load", None)
    found = probe(path)
    assert (found.frames, found.duration_s) == (5, pytest.approx(0.1 + 0.1 + 0.4 + 0.1 + 5))


def test_frames_behind_the_last_wanted_one_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.gif"
    first, *others = [flat(n) for n in range(200)]
    first.save(path, save_all=True, append_images=others, duration=100)
    from PIL import GifImagePlugin

    sought: list[int] = []
    seek = GifImagePlugin.GifImageFile.seek
    monkeypatch.setattr(
        GifImagePlugin.GifImageFile, "seek", lambda image, n: (sought.append(n), seek(image, n))[1]
    )
    decode(Clip("clip", path), Times(times=(0.0, 1.0)))
    assert max(sought) == 10


def test_a_large_animation_does_not_outlast_its_time(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    first, *others = [Image.new("P", (2400, 1800), n) for n in range(12)]
    first.save(path, save_all=True, append_images=others, duration=100)
    started = time.monotonic()
    with pytest.raises(BrokenClip, match=r"longer than the limit of 0.1 s"):
        take(path, 16, size=(32, 32), limits=Limits(wall_s=0.1))
    assert time.monotonic() - started < 5
    assert probe(path).frames == 12


def test_frames_beyond_the_budget_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    header = struct.pack(">IIBBBBB", 8000, 4000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    path.write_bytes(start + struct.pack(">I", 9999) + b"IDAT" + bytes(64))
    with pytest.raises(BrokenClip, match="resized while they are decoded"):
        take(path, 16)


def test_a_photograph_beyond_the_limit_of_pixels_is_decoded_small(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture = np.zeros((1600, 2400, 3), np.uint8)
    picture[:800, :1200] = (200, 100, 50)
    Image.fromarray(picture).save(path, quality=95)
    limits = Limits(pixels=1000 * 1000)
    assert (probe(path, limits).width, probe(path, limits).height) == (2400, 1600)
    small = take(path, size=(100, 150), limits=limits).pixels[0].astype(int)
    whole = take(path, size=(100, 150)).pixels[0].astype(int)
    assert abs(small - whole).mean() < 1
    assert abs(small[20, 30] - (200, 100, 50)).max() < 4
    with pytest.raises(BrokenClip, match="exceed the limit"):
        take(path, limits=limits)
    with pytest.raises(BrokenClip, match="exceed the limit"):
        take(path, size=(1500, 1500), limits=limits)
    with pytest.raises(BrokenClip, match="exceed the limit"):
        probe(path, Limits(pixels=1000 * 100))


def test_any_error_of_a_plugin_costs_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OddError(Exception):
        pass

    def fail(*_: object) -> None:
        raise OddError("what is this?")

    Image.new("RGB", (8, 8)).save(tmp_path / "a.tif")
    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", fail)
    with pytest.raises(BrokenClip, match="what is this"):
        take(tmp_path / "a.tif")


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400)


def test_heic_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(HEIC)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for refused in (probe, take):
        with pytest.raises(BrokenClip, match=r"install `vidapt\[heic\]`"):
            refused(tmp_path / "a.heic")


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="needs the extra `heic`")
def test_heic_is_read_where_it_can_be(tmp_path: Path) -> None:
    import pillow_heif

    pillow_heif.from_pillow(Image.fromarray(HIDDEN[..., :3])).save(tmp_path / "a.heic")
    assert take(tmp_path / "a.heic").pixels.shape == (1, 32, 32, 3)
    assert (probe(tmp_path / "a.heic").kind, probe(tmp_path / "a.heic").codec) == ("still", "heif")
    (tmp_path / "b.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:200])
    with pytest.raises(BrokenClip):
        take(tmp_path / "b.heic")
