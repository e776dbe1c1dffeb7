"""CPU time of 16 frames of a clip, evenly spread or `near` that: vidapt, PyAV, OpenCV, decord, a full decode.

    python benchmarks/decode.py [FOLDER] [--out results.json]

Every contender runs in a process of its own with one decoding thread, does the same job (RGB pictures in
an array) and takes its turn in every round; what counts is the median of the CPU time of its process,
threads included. Without FOLDER clips are made up. The frames vidapt returns are compared with those of a
full decode. `vidapt_near` takes the cheapest frame near each moment, and is told beside PyAV, which goes to
the last of the exact ones; what policies that read packets take beside that reading is timed alone. With
`--gop S` the clips are coded anew first, a key frame every S seconds. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from _machine import describe
from vidapt.nouns import Clip
from vidapt.video import DEFAULT, Motion, Near, Uniform, choose, decode, probe
from vidapt.video.by_packets import moments_of
from vidapt.video.container import opened
from vidapt.video.stamps import coded_pictures

COUNT = 16
POLICY = Uniform(count=COUNT)
NEAR = Near(count=COUNT)
SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm"}
Moments = tuple[float, ...]
PEERS = {"opencv": "cv2", "decord": "decord"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="clips to decode; made up if not given")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the long clip; 0: none")
    parser.add_argument("--out", type=Path, help="write all numbers and the machine to this file as well")
    parser.add_argument("--gop", type=float, help="seconds from key frame to key frame; by default, as it is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or made_up(Path(scratch))
        if options.gop:
            folder = coded_anew(folder, Path(scratch) / "anew", options.gop)
        result = {"gop_s": options.gop, **run(folder, options.rounds)}
        if options.minutes:
            long = Path(scratch) / "long.mp4"
            render(long, 320, 180, round(options.minutes * 60 * 25), {"preset": "veryfast"})
            result |= against_a_full_decode(long)
    result["machine"] = describe("av", "numpy", "opencv-python-headless", "decord")
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({name: value for name, value in result.items() if name not in ("cpu_ms", "machine")}))


def run(folder: Path, rounds: int) -> dict[str, Any]:
    """Race all contenders over the clips of a folder."""
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENCV_FFMPEG_CAPTURE_OPTIONS": "threads;1"}
    names = ["vidapt", "vidapt_near", "pyav", "pyav_as_it_comes"]
    names += [name for name, module in PEERS.items() if importlib.util.find_spec(module)]
    context = multiprocessing.get_context("spawn")
    lanes = {name: context.Pool(1) for name in names}
    clips: dict[str, dict[str, float]] = {}
    packets: dict[str, dict[str, float]] = {}
    wrong = 0
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
        taken: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds + 1):  # the first round warms up
            for name in names:
                taken[name].append(lanes[name].apply(cpu_seconds, (name, path)))
        clips[path.name] = {name: round(1000 * statistics.median(taken[name][1:]), 2) for name in names}
        wrong += wrong_frames(path)
        packets[path.name] = by_packets(path)
        print(path.name, clips[path.name], flush=True)
    for lane in lanes.values():
        lane.close()
    total = {name: sum(clip[name] for clip in clips.values()) for name in names}
    ratios: dict[str, float | None] = {f"ratio_vs_{name}": None for name in PEERS}
    ratios |= {f"ratio_vs_{name}": round(total["vidapt"] / total[name], 3) for name in names[2:]}
    ratios["near_ratio_vs_pyav"] = round(total["vidapt_near"] / total["pyav"], 3)
    ratios["near_ratio_vs_vidapt"] = round(total["vidapt_near"] / total["vidapt"], 3)
    return {
        "benchmark": "decode",
        "frames": COUNT,
        "rounds": rounds,
        **ratios,
        "wrong_frames": wrong,
        "by_packets": packets,
        "clips": clips,
    }


def cpu_seconds(name: str, path: Path) -> float:
    """CPU time of this process, threads included, for one clip."""
    wanted = moments(path)
    start = time.process_time()
    pixels = CONTENDERS[name](path, wanted)
    taken = time.process_time() - start
    assert pixels.shape[0] == COUNT
    return taken


def moments(path: Path) -> Moments:
    times = choose(POLICY, probe(path))
    assert times != "keyframes"
    return times


def with_vidapt(path: Path, wanted: Moments) -> np.ndarray:
    return decode(Clip(path.name, path), POLICY).pixels


def with_near(path: Path, wanted: Moments) -> np.ndarray:
    return decode(Clip(path.name, path), NEAR).pixels


def with_pyav(path: Path, wanted: Moments, *, stop: bool = True, **scaling: Any) -> np.ndarray:
    """Decode up to the last frame needed, on one thread, and convert as PyAV does unless told otherwise."""
    taken: list[np.ndarray] = []
    before: av.VideoFrame | None = None
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        ticks = [int((moment + 1e-6) / (stream.time_base or 1)) for moment in wanted]
        for frame in container.decode(stream):
            shown = frame.pts or 0
            if before is None:
                ticks = [shown + tick for tick in ticks]
            while before is not None and len(taken) < COUNT and ticks[len(taken)] < shown:
                taken.append(before.to_ndarray(format="rgb24", **scaling))
            if stop and len(taken) == COUNT:
                break
            before = frame
        while before is not None and len(taken) < COUNT:
            taken.append(before.to_ndarray(format="rgb24", **scaling))
    return np.stack(taken)


def with_pyav_on_one_thread(path: Path, wanted: Moments) -> np.ndarray:
    """The like-for-like peer: no threads for the conversion, as in vidapt; no pixel changes by that."""
    return with_pyav(path, wanted, threads=1)


def with_opencv(path: Path, wanted: Moments) -> np.ndarray:
    import cv2

    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(str(path))
    rate = capture.get(cv2.CAP_PROP_FPS)
    taken, at = [], -1
    for moment in wanted:
        while at < int(moment * rate + 1e-3) and capture.grab():
            at += 1
        taken.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(taken)


def with_decord(path: Path, wanted: Moments) -> np.ndarray:
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    rate = reader.get_avg_fps()
    batch = reader.get_batch([min(len(reader) - 1, int(moment * rate + 1e-3)) for moment in wanted])
    return np.asarray(batch.asnumpy())


CONTENDERS: dict[str, Callable[[Path, Moments], np.ndarray]] = {
    "vidapt": with_vidapt,
    "vidapt_near": with_near,
    "pyav": with_pyav_on_one_thread,
    "pyav_as_it_comes": with_pyav,
    "opencv": with_opencv,
    "decord": with_decord,
}


def wrong_frames(path: Path) -> int:
    """Frames of vidapt's that differ from those of a full decode, in any pixel."""
    ours, theirs = with_vidapt(path, ()), with_pyav(path, moments(path), stop=False)
    return sum(not np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def by_packets(path: Path) -> dict[str, float]:
    """What policies that read packets do: how far off they are, and what they cost beside that reading."""
    clip = Clip(path.name, path)
    length = probe(path).duration_s
    exact, near = (np.array(decode(clip, policy).times_s) for policy in (POLICY, NEAR))
    told = {"near_off_in_half_intervals": round(float(np.abs(near - exact).max() / (length / COUNT / 2)), 3)}
    with opened(path, DEFAULT, look=False) as source:
        coded = coded_pictures(source)
    for policy in (NEAR, Motion(count=COUNT)):
        taken = []
        for _ in range(20):
            start = time.process_time()
            moments_of(policy, coded, 0.0, length)
            taken.append(time.process_time() - start)
        told[f"{policy.policy}_ms"] = round(1000 * statistics.median(taken), 3)
    return told


def against_a_full_decode(path: Path) -> dict[str, Any]:
    """Compare with decoding every frame of a long clip."""
    wanted = moments(path)
    ours = []
    for _ in range(4):
        start = time.process_time()
        with_vidapt(path, wanted)
        ours.append(time.process_time() - start)
    start = time.process_time()
    theirs = with_pyav(path, wanted, stop=False)
    full = time.process_time() - start
    wrong = sum(not np.array_equal(a, b) for a, b in zip(with_vidapt(path, wanted), theirs, strict=True))
    return {
        "speedup_vs_full_10min": round(full / statistics.median(ours[1:]), 1),
        "wrong_frames_10min": wrong,
    }


def made_up(folder: Path) -> Path:
    """Write three clips of ten seconds: default coding, short groups of pictures, no B-frames."""
    for name, options in {"default": {}, "short": {"g": "25"}, "forward": {"bf": "0"}}.items():
        render(folder / f"{name}.mp4", 640, 360, 250, {"preset": "veryfast", **options})
    return folder


def coded_anew(folder: Path, to: Path, gop_s: float) -> Path:
    """Copies of a folder's clips as H.264 with a key frame every so many seconds."""
    to.mkdir()
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES):
        with av.open(path) as source, av.open(to / f"{path.stem}.mp4", "w") as copy:
            before = source.streams.video[0]
            rate = before.average_rate or Fraction(25)
            options = {"preset": "medium", "g": str(max(1, round(gop_s * rate)))}
            stream = copy.add_stream("libx264", rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = (
                before.width // 2 * 2,
                before.height // 2 * 2,
                "yuv420p",
            )
            for frame in source.decode(before):
                frame.pict_type = 0
                copy.mux(stream.encode(frame))
            copy.mux(stream.encode(None))
    return to


def render(path: Path, width: int, height: int, count: int, options: dict[str, str]) -> None:
    """Write a moving texture with some noise at 25 frames per second."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 200, (height // 8 + 1, width // 8 + 1, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    noise = rng.integers(0, 16, (4, height, width, 3), np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(count):
            pixels = np.roll(texture, (index, 2 * index), (0, 1))[:height, :width] + noise[index % 4]
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
