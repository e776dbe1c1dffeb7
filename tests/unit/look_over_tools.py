"""Labels to look over, what checks and teachers said of them, and the page's server as a browser asks it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clean_tools import row, write_rows
from footage_tools import film
from starlette.testclient import TestClient

from vidapt.looking_over.app import Desk, make_app
from vidapt.looking_over.asking import Asker
from vidapt.looking_over.book import Book, open_book
from vidapt.looking_over.entries import Item
from vidapt.looking_over.freezing import Freezer
from vidapt.looking_over.gather import Gathered, Sources
from vidapt.looking_over.guard import Guard
from vidapt.looking_over.index import Watched, write_index
from vidapt.looking_over.ledger import Ledger
from vidapt.looking_over.pictures import Pictures
from vidapt.looking_over.seen import Moments
from vidapt.measure.verdicts import Header, Kept, Verdict, open_ledger
from vidapt.nouns import Clip

TOKEN = "a-token-of-the-tests"
SCRIPT = "<script>document.title = 'owned'</script>\u202e<b onclick='x()'>red</b>"


def labels(folder: Path, count: int = 4) -> Path:
    """Rows `r0`, `r1`, ... that say their number, each of a clip of its own."""
    for number in range(count):
        film(folder / f"r{number}.mp4", "mp4", base=number)
    rows = [row(f"r{number}", f"Ball {number} rolls.", facts={"type": "caption"}) for number in range(count)]
    return write_rows(folder / "labels.jsonl", rows)


def rejected(folder: Path, *told: tuple[str, str, str, str | None], file: str = "labels.jsonl") -> Path:
    """What a cleaning would say of rows of a label file: id, check, verdict, and what it was rewritten to."""
    rows = {one["id"]: one for one in map(json.loads, (folder / file).read_text("utf-8").splitlines())}
    lines = []
    for name, check, verdict, now in told:
        line = {"id": name, "check": check, "version": 1, "verdict": verdict, "reason": f"{check} says so"}
        line |= {"again": False, "source": f"{file}:1", "row": rows[name]}
        lines.append(line if now is None else line | {"now": rows[name] | {"answer": now}})
    return write_rows(folder / "clean.rejected.jsonl", lines)


def provenance(folder: Path, *made: dict[str, Any], name: str = "labels.jsonl") -> Path:
    """What a teacher's side would write of clips; each needs `clip` and `text`."""
    texts = dict.fromkeys(("folder", "settings", "created", "version"), "")
    lists: dict[str, Any] = {
        one: [] for one in ("teachers", "frames", "size", "facts", "flags", "calls", "notes")
    }
    other = {"start_s": 0.0, "end_s": None, "rate": None, "length_s": 3.0, "movement": 0.0, "rounds": 1}
    columns = {**texts, **lists, **other, "mode": "caption", "usage": {}, "voices": [], "agreement": None}
    rows = []
    for number, given in enumerate(made):
        own = dict(given)
        clip, text, parts = own.pop("clip"), own.pop("text"), own.pop("parts", [])
        label = {
            "id": clip,
            "kind": "caption",
            "question": "?",
            "text": text,
            "type": "caption",
            "parts": parts,
        }
        rows.append({**columns, "key": str(number), "clip": clip, "path": clip, "labels": [label], **own})
    return write_rows(folder / f"{name}.provenance.jsonl", [json.dumps(one) for one in rows])


def verdicts(folder: Path, home: Path, name: str = "mine", **answers: dict[str, str]) -> Path:
    """An evaluation: of rows by their ids, what each arm said; "two" is right."""
    folder.mkdir(parents=True)
    plain = Verdict(0, "", Clip("", home), "count", "how many?", "two", ("two",), False, {})
    found = tuple(
        replace(plain, number=n, sample=key, clip=Clip(f"{key}.mp4", home / f"{key}.mp4"), predictions=said)
        for n, (key, said) in enumerate(answers.items())
    )
    with open_ledger(folder, Kept(Header({}, {"name": name}), found, ())):
        return folder


@dataclass(frozen=True)
class Up:
    """A page that is up."""

    client: TestClient
    book: Book
    ledger: Ledger

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(f"/{TOKEN}/{path}", **more)

    def post(self, path: str, body: Any) -> Any:
        return self.client.post(f"/{TOKEN}/{path}", json=body)

    def decide(self, row: int, verdict: str, text: str = "", seen: int = 0) -> Any:
        wish = {"row": row, "verdict": verdict, "text": text, "seen": seen}
        return self.post("api/decide", wish)

    def found(self, **filters: str) -> list[int]:
        data = self.get("api/find", params=filters).content
        return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


def book_of(folder: Path, items: Sequence[Item]) -> Book:
    """A book of rows that stand in no file."""
    folder.mkdir(exist_ok=True)
    write_index(folder, Gathered(list(items)))
    return Book(folder)


@contextmanager
def up(files: Sequence[Path], decisions: Path | None = None, model: str = "", **more: Any) -> Iterator[Up]:
    home = files[0].parent
    sources = Sources(files, **more)
    book = open_book(sources)
    path = decisions or files[0].with_name("decisions.jsonl")
    with ExitStack() as held:
        ledger = held.enter_context(closing(Ledger(path, book, "Ann")))
        pictures = held.enter_context(closing(Pictures(home / "frames")))
        moments, asker = held.enter_context(closing(Moments(book))), held.enter_context(closing(Asker(model)))
        freezer, watched = Freezer(sources, book, path), Watched(sources)
        desk = Desk(
            book,
            ledger,
            pictures,
            moments,
            asker,
            freezer,
            watched,
            home / "versions",
            "Labels",
            "Ann",
            "disputed",
        )
        yield Up(TestClient(Guard(make_app(desk), TOKEN), base_url="http://127.0.0.1:8000"), book, ledger)
