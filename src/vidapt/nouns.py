"""The plain values that pass between the floors. Importing this module imports no torch.

Letters used in shapes here and everywhere else: N clips in a batch, T frames, H and W pixels, t h w
cells of a grid, C tower width, D width of the language model, n visual tokens, L sequence length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from vidapt.claims import Claim

Role = Literal["system", "user", "assistant"]

Moment = Literal["middle", "first", "last"]
"""Which moment of a stretch of frames stands for it; the middle is the mean of the first and the last."""

MEDIA = "<video>"
"""What stands in a turn's text where the next clip of the sample goes."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Footage not yet decoded: a video file, a still, or a folder of images.

    Attributes:
        id: Unique within its dataset.
        path: The file or folder.
        start_s: First moment used, in seconds from the first frame.
        end_s: Last moment used; None means the end of the file.
        rate: Pictures per second of a folder of pictures, which says nothing of it itself; None where nobody
            knows, and for all other files.
    """

    id: str
    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Moments:
    """When the frames of one clip were.

    Attributes:
        seconds: Of each frame, from where the clip begins.
        length: How long the clip lasts, in seconds.
    """

    seconds: tuple[float, ...]
    length: float


@dataclass(frozen=True, slots=True)
class Frames:
    """What was decoded.

    Attributes:
        pixels: [T, H, W, 3] uint8, RGB, rotation applied.
        times_s: [T] float64, seconds from the first frame of the file.
        notes: What a user should know, such as that the file is truncated.
        start_s: Where the stretch they were chosen from begins.
        length_s: How long it lasts, in seconds; None where nothing says so.
    """

    pixels: np.ndarray
    times_s: np.ndarray
    notes: tuple[str, ...] = ()
    start_s: float = 0.0
    length_s: float | None = None

    @property
    def moments(self) -> Moments:
        """When they were in their stretch, as plain numbers."""
        seconds = tuple(max(0.0, float(time) - self.start_s) for time in self.times_s)
        length = self.length_s
        if length is None:  # the last frame is taken to last as long as the others do
            steps = max(1, len(seconds) - 1)
            length = (seconds[-1] - seconds[0]) * (steps + 1) / steps if seconds else 0.0
        return Moments(seconds, length)

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance; `text` may hold `MEDIA` marks anywhere."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One thing to learn from or answer.

    Attributes:
        id: Unique within its dataset.
        media: The clips, in the order of the `MEDIA` marks. A sample of which no turn holds a mark has
            its clips in front of the first user turn.
        turns: The conversation.
        rejected: A worse answer to the last turn (preference learning).
        facts: Further truth about the sample. Known keys: `type` (question type), `accept` (every
            answer that counts as right).
        source: `file:line` it came from.
        references: Further answers to the last turn, each as right as the one that stands there.
        claims: What is known of single clauses of answers (`vidapt evidence`).
        counts: Stretches of answers that count less in learning, or not at all: index of the turn, first
            letter, the one behind the last, and how much.
    """

    id: str
    media: tuple[Clip, ...]
    turns: tuple[Turn, ...]
    rejected: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    references: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    counts: tuple[tuple[int, int, int, float], ...] = ()

    @property
    def question(self) -> str:
        """The last user turn's text."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")

    @property
    def answer(self) -> str:
        """The last assistant turn's text, empty when there is none."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "assistant"), "")


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of one clip or view in natural order: time, row, column.

    Raises:
        ValueError: If a side is not positive; an empty grid is always a mistake upstream.
    """

    t: int
    h: int
    w: int

    def __post_init__(self) -> None:
        if min(self.t, self.h, self.w) < 1:
            raise ValueError(f"a grid needs at least one cell on every side, got {self.t}x{self.h}x{self.w}")

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.t * self.h * self.w


@dataclass(frozen=True, slots=True)
class SparseGrid(Grid):
    """A grid of which only some cells are read.

    Attributes:
        kept: Their indices in natural order, rising.
    """

    kept: tuple[int, ...] = ()

    @property
    def cells(self) -> int:
        """Number of cells that are read."""
        return len(self.kept)

    @property
    def whole(self) -> Grid:
        """The grid with all its cells."""
        return Grid(self.t, self.h, self.w)


@dataclass(frozen=True, slots=True)
class View:
    """One picture that one tower looks at, in every frame of a clip.

    Attributes:
        size: (height, width) in pixels.
        tower: Index of the tower.
    """

    size: tuple[int, int]
    tower: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """Integers only: what will be cut from a clip. Known before any pixel is touched.

    Attributes:
        frames: Number of frames decoded.
        views: What is handed to the towers.
        size: (height, width) of the file, in pixels.
        decode: (height, width) to resize to while decoding; None keeps the file's own size.
    """

    frames: int
    views: tuple[View, ...]
    size: tuple[int, int]
    decode: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """What a tower saw of N clips of equal shape.

    Attributes:
        x: [N, t, h, w, C], natural order.
        extra: [N, e, C] tokens that have no place in the grid (video proxies, class tokens); or None.
        levels: What chosen inner layers made of the same cells, each of the shape of `x`, from the lowest up.
    """

    x: Tensor
    extra: Tensor | None = None
    levels: tuple[Tensor, ...] = ()

    @property
    def grid(self) -> Grid:
        """The grid of one clip."""
        return Grid(*self.x.shape[1:4])


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the language model reads of N clips of equal shape.

    Attributes:
        x: [N, n, D]: the cells of `grid` in natural order, then `extra` tokens without a place.
        grid: Grid of the tokens that have a place.
        extra: Number of tokens without one.
        deep: What is added to the states at these tokens' places behind the language layers that the
            connector names in its `depths`, each of the shape of `x`.
    """

    x: Tensor
    grid: Grid
    extra: int = 0
    deep: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        if self.x.shape[1] != self.grid.cells + self.extra:
            raise ValueError(
                f"{self.grid.cells} cells and {self.extra} extra tokens were promised, {self.x.shape[1]} made"
            )
        if any(one.shape != self.x.shape for one in self.deep):
            raise ValueError("what is added deeper down needs one row for every token")


Kept = tuple[int, ...]
"""Which of a clip's visual tokens are read: indices in reading order, rising."""


@dataclass(frozen=True, slots=True)
class Views:
    """N clips with equal plans, cut for the towers.

    Attributes:
        tensors: One [N, T, 3, h, w] per view of the plan; uint8, or float32 in 0..255.
        plan: What was cut.
        together: How many clips each one's conversation is about.
        moments: When the frames of each clip were, N of them; empty where nobody knows.
        kept: What is read of each clip, N of them, where the resolution leaves something out; else empty.
    """

    tensors: tuple[Tensor, ...]
    plan: Plan
    together: int = 1
    moments: tuple[Moments, ...] = ()
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """N clips with equal plans, as the towers saw them.

    Attributes:
        features: One per view of the plan.
        plan: What was cut.
        together: How many clips each one's conversation is about.
        stitched: Whether the resolution's `stitch` has already been applied; see `VideoLM.shrunk`.
        moments: When the frames of each clip were, N of them; empty where nobody knows.
        kept: As `Views` has it.
    """

    features: tuple[Features, ...]
    plan: Plan
    together: int = 1
    stitched: bool = False
    moments: tuple[Moments, ...] = ()
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True)
class Stamp:
    """Text about some frames of a clip, which can be written once their moments are known.

    Attributes:
        text: A template; see `recipe.TimeText`.
        first: Index of the first of the frames.
        last: Index of the last of them.
        number: Of the stretch of frames among those of the clip, counted from 1.
        moment: Which moment of the stretch is its time.
    """

    text: str
    first: int
    last: int
    number: int
    moment: Moment = "middle"


Span = tuple[Grid, int]
"""Visual tokens that stand together: those with a place, and how many have none."""

Layout = tuple[Span | str | Stamp, ...]
"""What is read of one clip, in order: visual tokens, and text such as the marks of slices. `{index}` in a
text stands for the clip's number among the conversation's media, counted from 0. A stamp is text, too; how
many tokens it becomes is known with the moments of the frames."""


class Text(int):
    """Length of a stretch of text that tells its ids too, for positions that depend on marks.

    Args:
        ids: Of its tokens.
    """

    ids: tuple[int, ...]

    def __new__(cls, ids: Sequence[int]) -> Text:
        """As long as there are ids."""
        text = super().__new__(cls, len(ids))
        text.ids = tuple(ids)
        return text


Timed = tuple[Grid, int, tuple[float, ...]]
"""Visual tokens as positions number them: a span, and the second at which each of its `t` slices begins (none
where nobody knows)."""
