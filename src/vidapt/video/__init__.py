"""Footage in and out: probe, choose frames, decode only those, write."""

from vidapt.video.choose import (
    At,
    Every,
    Keyframes,
    Motion,
    Near,
    Policy,
    Times,
    Uniform,
    choose,
    frame_indices,
)
from vidapt.video.decode import decode
from vidapt.video.limits import DEFAULT, Limits
from vidapt.video.pool import Crew, Meter, Wanted, decode_ahead, decode_each
from vidapt.video.probe import Probe, probe
from vidapt.video.smaller import smaller
from vidapt.video.write import write_mp4

__all__ = [
    "DEFAULT",
    "At",
    "Crew",
    "Every",
    "Keyframes",
    "Limits",
    "Meter",
    "Motion",
    "Near",
    "Policy",
    "Probe",
    "Times",
    "Uniform",
    "Wanted",
    "choose",
    "decode",
    "decode_ahead",
    "decode_each",
    "frame_indices",
    "probe",
    "smaller",
    "write_mp4",
]
