"""A browser without a window: comes to the page, keeps its cookie, and does what the page's parts do."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx2
from serve_tools import KEY, Up

JOIN, DATA = "/page/gradio_api/queue/join", "/page/gradio_api/queue/data"


@dataclass
class Visitor:
    """Somebody at the page.

    Attributes:
        served: The server.
        web: With a cookie of its own.
        tab: What Gradio calls this tab.
        config: What the page is made of.
    """

    served: Up = field(repr=False)
    web: httpx2.Client
    tab: str = field(default_factory=lambda: secrets.token_hex(5))
    config: dict[str, Any] = field(default_factory=dict, repr=False)

    def enter(self, key: str = KEY) -> Visitor:
        """Say a key, and read the page."""
        self.web.post("/page/login", data={"key": key})
        page = self.web.get("/page/").text
        found = re.search(r"window\.gradio_config = (\{.*?\});</script>", page)
        assert found is not None, page[:500]
        self.config = json.loads(found[1])
        return self

    def event(self, called: str, kind: str) -> int:
        """The number of what happens when something is done to the part of a label, value or id."""
        named = [
            part["id"]
            for part in self.config["components"]
            if called in (part["props"].get(name) for name in ("label", "value", "elem_id"))
        ]
        (number,) = [
            one["id"]
            for one in self.config["dependencies"]
            if any([part, kind] in [list(target) for target in one["targets"]] for part in named)
        ]
        return int(number)

    def join(self, number: int, data: list[Any], **more: Any) -> httpx2.Response:
        """Tell what was done."""
        body = {"session_hash": self.tab, "fn_index": number, "trigger_id": None, "data": data}
        return self.web.post(JOIN, json=body | more)

    def hear(self) -> list[dict[str, Any]]:
        """All that is told until nothing is under way."""
        told: list[dict[str, Any]] = []
        with self.web.stream("GET", DATA, params={"session_hash": self.tab}) as lines:
            told += [json.loads(line[6:]) for line in lines.iter_lines() if line.startswith("data: ")]
        return told

    def do(self, called: str, kind: str, *data: Any) -> list[Any]:
        """Do something, and wait for what comes of it: the last values."""
        assert self.join(self.event(called, kind), list(data)).status_code == 200
        (last,) = [one for one in self.hear() if one["msg"] == "process_completed"]
        assert last["success"], last
        return list(last["output"]["data"])

    def show(self, content: bytes, *models: str, suffix: str = ".mp4") -> list[Any]:
        """Drop a clip."""
        sent = self.web.post("/page/clip", content=content)
        assert sent.status_code == 200, sent.text
        chosen = (*models, "")[:2] if models else ("home", "")
        return self.do("clip", "change", f"{sent.json()['id']} {suffix}", *chosen)
