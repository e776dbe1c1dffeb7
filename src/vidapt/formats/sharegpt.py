"""ShareGPT labels as LLaMA-Factory and ms-swift read them: conversations with lists of images and videos.

A row is `{"messages": [{"role", "content"}, ...], "videos"?: [...], "images"?: [...], "system"?: text}`, or
has `conversations` of `{"from", "value"}`; a preference row ends with the user and gives `chosen` and
`rejected`, one turn each, or ends with the better answer and gives `rejected_response`. `content` may be a
list of parts that name their own media; a video may be the list of its frames. Speech, tools and boxes
(`audios`, `tools`, `objects`) are not read and are errors, and so are answers that are not to be learned
(`loss`, `label`).

Media are looked for relative to the label file's folder, then under `media_root`, then by their bare name
beside the label file, since such files are handed on together with their clips but keep the paths of the
machine they were made on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from vidapt.formats._base import FileConfig, distinct, read_samples
from vidapt.formats._content import Content, Medium, content_of, media_of, nothing
from vidapt.formats._media import TINY_STILL, MediaFinder
from vidapt.formats._row import Row
from vidapt.formats._talk import conversation, in_mark_order, role_of, unmarked
from vidapt.nouns import Role, Sample, Turn

_ROLES: Mapping[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_KEYS = frozenset({"messages", "videos", "images", "system", "chosen", "rejected", "rejected_response"})


class Part:
    """Reads ShareGPT labels."""

    class Config(FileConfig):
        """Options."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    @staticmethod
    def recognises(path: Path, keys: frozenset[str]) -> bool:
        """Whether a file whose first row has these keys is in this format."""
        return "messages" in keys or ("conversations" in keys and not keys & {"image", "video"})

    def read(self, path: Path) -> Iterator[Sample]:
        """Yield the samples of a label file, lazily.

        Raises:
            FormatError: If a row is unsound, or, at the end, if media are missing.
        """
        yield from distinct(read_samples(path, self.cfg, self.reader(path)))

    def reader(self, path: Path, *, look: bool = True) -> Callable[[Row], Sample]:
        """Return what makes samples of single rows; `look` is that of `MediaFinder`."""
        finder = MediaFinder(path, self.cfg.media_root, beside=True, look=look)
        return lambda row: _sample(row, finder)


def _sample(row: Row, finder: MediaFinder) -> Sample:
    row.no_slips(_KEYS - {"messages"} if "conversations" in row.values else _KEYS)
    for key in ("audios", "tools", "objects", "rejected_messages"):
        if not nothing(row.values.get(key)):
            raise row.error(f"{key!r} cannot be learnt from", "remove these rows")
    if row.values.get("label") is False:
        raise row.error("'label' says that the answer is a bad one", "remove these rows, or mend them")
    key = "conversations" if "conversations" in row.values else "messages"
    said = [_said(row.inner(entry, f"a turn of {key!r}")) for entry in row.listed(key)]
    if row.values.get("system"):
        said.insert(0, ("system", Content(row.text("system"))))
    rejected = None
    if "chosen" in row.values or "rejected" in row.values:
        said.append(_said(row.inner(row.need("chosen"), "'chosen'")))
        rejected = _said(row.inner(row.need("rejected"), "'rejected'"))[1].text
    elif row.values.get("rejected_response") is not None:
        rejected = row.text("rejected_response")
    rejected = None if rejected is None else unmarked(rejected, "what was rejected", row)
    turns = [Turn(role, content.text) for role, content in said]
    images, videos = (_media([content for _, content in said], kind, row) for kind in ("image", "video"))
    given = in_mark_order(turns, images, videos, row)
    media = tuple(finder.clip(one, row) if isinstance(one, str) else finder.album(one, row) for one in given)
    return Sample(row.identity(), media, conversation(turns, len(media), row), rejected, source=row.where)


def _media(said: Sequence[Content], kind: str, row: Row) -> list[Medium]:
    """Those of one kind of media in the order of their marks, named by the turns or listed beside them."""
    named = [path for content in said for path in content.media.get(kind, ())]
    listed = media_of(row, kind)
    if named and listed:
        raise row.error(f"the turns name their own, and there are '{kind}s' as well", "keep one of the two")
    return named or listed


def _said(row: Row) -> tuple[Role, Content]:
    name, text = ("from", "value") if "from" in row.values else ("role", "content")
    role = role_of(row.text(name), _ROLES, row)
    loss = row.values.get("loss")
    if role == "assistant" and loss is not None and not loss:
        raise row.error("'loss' says that an answer is not to be learned", "remove it, or these rows")
    return role, content_of(row, text)


def tiny() -> Part:
    """The format with its defaults."""
    return Part(Part.Config())


def tiny_data(folder: Path) -> Path:
    """Write the smallest label file and its medium into `folder`; return the file."""
    (folder / "still.gif").write_bytes(TINY_STILL)
    path = folder / "sharegpt.json"
    path.write_text(
        '[{"messages": [{"role": "user", "content": "<video>what colour?"},\n'
        ' {"role": "assistant", "content": "black."}], "videos": ["still.gif"]}]\n'
    )
    return path
