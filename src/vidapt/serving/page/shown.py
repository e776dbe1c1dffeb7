"""What the page shows, as HTML in which nothing that somebody said is anything but text."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidapt.measure.look import Looked, laid_over, sized
from vidapt.nouns import Frames
from vidapt.serving.page.tabs import Exchange, Side

MOST_SHOWN = 64
"""Frames of one clip on the page."""

_QUALITY = 85
_TEMPLATES = {ord(mark): f"&#{ord(mark)};" for mark in "{}$`\\"}


def plain(text: str) -> str:
    """Text as HTML that is nothing but this text, also to whatever takes HTML for a template."""
    return html.escape(text).translate(_TEMPLATES)


def frames_seen(model: str, frames: Frames) -> str:
    """Frames of a clip as a model sees them, with their times."""
    chosen = _chosen(frames.times_s)
    shown = ((sized(frames.pixels[at]), float(frames.times_s[at])) for at in chosen)
    count, moments = len(frames), len(np.unique(frames.times_s))
    told = f"{count} frame{'s' * (count != 1)}"
    if moments < count:  # a short clip, or a picture, which is seen again and again
        told += f" of {moments} moment{'s' * (moments != 1)}"
    if len(chosen) < moments:
        told += f", {len(chosen)} of them shown"
    return _strip(f"What {model} sees", told, shown, frames.notes)


def looked_at(looked: Looked) -> str:
    """A model's map, laid over its frames."""
    panel = looked.panel()
    shown = ((laid_over(panel, at), float(panel.times_s[at])) for at in _chosen(panel.times_s))
    return _strip(f"Where {looked.model} looks", looked.shown, shown, [looked.noise.line()])


def told_instead(head: str, reason: str) -> str:
    """Why there is nothing to be seen."""
    return f'<section class="strip"><h2>{plain(head)}</h2><p class="fault">{plain(reason)}</p></section>'


def talks(sides: Sequence[Side], *, writing: bool) -> str:
    """Conversations side by side; without any side, no clip was dropped yet."""
    if not any(side.talk for side in sides):
        told = "Ask about the clip, or have it described." if sides else "Drop a clip, and ask about it."
        return f'<p class="empty">{told}</p>'
    columns = "".join(_column(index, side, writing=writing) for index, side in enumerate(sides))
    return f'<div class="talks n{len(sides)}">{columns}</div>'


def note(text: str, *, bad: bool = False) -> str:
    """A line on what happened."""
    return f'<p role="status" class="note{" fault" if bad else ""}">{plain(text)}</p>' if text else ""


def quoted(side: Side, exchange: Exchange) -> str:
    """The answer that is flagged."""
    said = f"<blockquote>{plain(exchange.answer)}</blockquote>"
    return f'<h2>What is wrong?</h2><p class="soft">{plain(side.model)} said:</p>{said}'


def _chosen(times_s: NDArray[np.float64]) -> NDArray[np.intp]:
    """Which frames are shown: one of each moment, and of many moments some."""
    _, firsts = np.unique(times_s, return_index=True)
    places = np.linspace(0, len(firsts) - 1, min(len(firsts), MOST_SHOWN)).round().astype(int)
    chosen: NDArray[np.intp] = firsts[np.unique(places)]
    return chosen


def _column(index: int, side: Side, *, writing: bool) -> str:
    name = plain(side.model)
    rows = "".join(_exchange(f"{index}-{number}", one) for number, one in enumerate(side.talk))
    busy = "true" if writing else "false"
    return (
        f'<section aria-label="Conversation with {name}"><h2>{name}</h2>'
        f'<div class="log" role="log" aria-live="polite" aria-busy="{busy}">{rows}</div></section>'
    )


def _exchange(name: str, one: Exchange) -> str:
    asked = f'<p class="asked"><span class="who">You: </span>{plain(one.question)}</p>'
    if one.fault:
        return f'{asked}<p class="said fault">{plain(one.fault)}</p>'
    if one.said is None:
        return f'{asked}<p class="said writing">{plain(one.answer)}</p>'
    words = plain(one.answer) or '<i class="soft">(nothing)</i>'
    cut = "" if one.said.ended else '<span class="soft"> (cut off)</span>'
    if one.flagged:
        button = '<span class="soft">noted</span>'
    else:
        label = f"Wrong: {plain(one.answer[:80])}"
        button = f'<button type="button" class="flag" data-flag="{name}" aria-label="{label}">wrong?</button>'
    return f'{asked}<p class="said">{words}{cut}</p><p class="act">{button}</p>'


def _strip(
    head: str, told: str, shown: Iterable[tuple[Image.Image, float]], notes: Sequence[str] = ()
) -> str:
    figures = "".join(_figure(picture, at) for picture, at in shown)
    lines = "".join(f'<p class="soft">{plain(one)}</p>' for one in notes)
    title = plain(head)
    return (
        f'<section class="strip"><h2>{title}</h2><p class="soft">{plain(told)}</p>'
        f'<div class="frames" tabindex="0" role="group" aria-label="{title}">{figures}</div>{lines}</section>'
    )


def _figure(picture: Image.Image, at: float) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    coded = base64.b64encode(file.getvalue()).decode()
    words = f"{at:.2f} s"
    image = f'<img src="data:image/jpeg;base64,{coded}" alt="frame at {words}">'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"
