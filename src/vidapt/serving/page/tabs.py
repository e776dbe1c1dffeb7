"""What is going on in each browser's tab: a clip, and a conversation about it with one model or two."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vidapt.serving.table import Said
from vidapt.video.suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES

_MOST = 512


@dataclass
class Exchange:
    """A question and what a model says to it.

    Attributes:
        question: What was asked.
        alone: Whether it has nothing to do with what was said before, nor with what is asked later.
        answer: As much as is written.
        said: The whole; None as long as it is written, or if there is none.
        fault: Why there is none.
        flagged: Whether somebody put down what would have been right.
    """

    question: str
    alone: bool = False
    answer: str = ""
    said: Said | None = None
    fault: str = ""
    flagged: bool = False


@dataclass
class Side:
    """One model's conversation."""

    model: str
    talk: list[Exchange] = field(default_factory=list)

    @property
    def answered(self) -> list[Exchange]:
        """Those that were answered and that later questions may refer to."""
        return [one for one in self.talk if one.said is not None and not one.alone]


@dataclass(eq=False)
class Waiting:
    """A question that was sent while an answer is being written."""

    question: str


@dataclass
class Tab:
    """One browser's tab.

    Attributes:
        who: Whose key it came with.
        file: The clip's upload; empty as long as there is none.
        suffix: Of the clip's name, if it is one that clips have.
        sides: The models that are asked, side by side.
        busy: Whether an answer is being written.
        line: Questions that wait for their turn.
    """

    who: str
    file: str = ""
    suffix: str = ""
    sides: list[Side] = field(default_factory=list)
    busy: bool = False
    line: list[Waiting] = field(default_factory=list)

    def begin(self, models: Sequence[str]) -> None:
        """Begin a conversation."""
        self.sides = [Side(name) for name in models]

    def find(self, name: str) -> tuple[Side, Exchange] | None:
        """An answer by its name on the page (`SIDE-NUMBER`); None if there is none."""
        side, _, number = name.partition("-")
        if not (side.isdecimal() and number.isdecimal() and len(name) < 12 and int(side) < len(self.sides)):
            return None
        found = self.sides[int(side)]
        return (found, found.talk[int(number)]) if int(number) < len(found.talk) else None


class Tabs:
    """Tabs by the session and the name that they come with; used by one event loop.

    Args:
        drop: Is told whose upload is not needed any more.
    """

    def __init__(self, drop: Callable[[str, str], object]) -> None:
        self._drop = drop
        self._open: OrderedDict[tuple[str, str], Tab] = OrderedDict()

    def at(self, session: str, name: str, who: str) -> Tab:
        """A tab; those that were not used for longest are forgotten."""
        key = session, name
        if key not in self._open:
            self._open[key] = Tab(who)
            if len(self._open) > _MOST:
                _, old = self._open.popitem(last=False)
                self.show(old, "", "")
        self._open.move_to_end(key)
        return self._open[key]

    def show(self, tab: Tab, file: str, suffix: str) -> None:
        """Put another clip in the place of the one that a tab is about."""
        if tab.file and tab.file != file:
            self._drop(tab.who, tab.file)
        tab.file = file
        tab.suffix = suffix if suffix in VIDEO_SUFFIXES | PICTURE_SUFFIXES else ""

    def forget(self, session: str) -> None:
        """Forget all tabs of a browser."""
        for key in [key for key in self._open if key[0] == session]:
            self.show(self._open.pop(key), "", "")
