"""ShareGPT labels as LLaMA-Factory reads them: conversations with lists of images and videos.

A row is `{"messages": [{"role", "content"}, ...], "videos"?: [...], "images"?: [...], "system"?: text}`, or
has `conversations` of `{"from", "value"}`; a preference row ends with the user and gives `chosen` and
`rejected`, one turn each. Speech and tools (`audios`, `tools`) are not read and are errors.

Media are looked for relative to the label file's folder, then under `media_root`, then by their bare name
beside the label file, since such files are handed on together with their clips but keep the paths of the
machine they were made on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from vidapt.formats._base import FileConfig, distinct, read_samples
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
_KEYS = frozenset({"messages", "videos", "images", "system", "chosen", "rejected"})


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
        finder = MediaFinder(path, self.cfg.media_root, beside=True)
        yield from distinct(read_samples(path, self.cfg, lambda row: _sample(row, finder)))


def _sample(row: Row, finder: MediaFinder) -> Sample:
    row.no_slips(_KEYS - {"messages"} if "conversations" in row.values else _KEYS)
    for key in ("audios", "tools"):
        if row.values.get(key):
            raise row.error(f"{key!r} cannot be learnt from", "remove these rows")
    turns = _turns(row)
    rejected = None
    if "chosen" in row.values or "rejected" in row.values:
        turns.append(_turn(row.inner(row.need("chosen"), "'chosen'")))
        rejected = unmarked(_turn(row.inner(row.need("rejected"), "'rejected'")).text, "'rejected'", row)
    given = in_mark_order(turns, row.texts("images"), row.texts("videos"), row)
    media = tuple(finder.clip(path, row) for path in given)
    return Sample(row.identity(), media, conversation(turns, len(media), row), rejected, source=row.where)


def _turns(row: Row) -> list[Turn]:
    key = "conversations" if "conversations" in row.values else "messages"
    turns = [_turn(row.inner(entry, f"a turn of {key!r}")) for entry in row.listed(key)]
    return [Turn("system", row.text("system")), *turns] if row.values.get("system") else turns


def _turn(row: Row) -> Turn:
    name, text = ("from", "value") if "from" in row.values else ("role", "content")
    return Turn(role_of(row.text(name), _ROLES, row), row.text(text))


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
