"""What the page is made of, in Gradio's words. Importing this module takes seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from vidapt.inference.engine import CAPTION_PROMPT
from vidapt.serving.page import shown
from vidapt.serving.page.asking import MOST_LETTERS, Asking
from vidapt.serving.page.flags import FILE, MOST_WORDS
from vidapt.serving.page.tabs import Tab, Tabs
from vidapt.serving.refused import RefusedError
from vidapt.serving.uploads import Uploads
from vidapt.serving.visits import Visit

_NOTHING = ""
_HEAD = (
    '<header class="top"><h1>Ask about a clip</h1>'
    '<form method="post" action="logout"{hidden}><button type="submit">Leave</button></form></header>'
)
_DROP = (
    '<label class="drop" for="file"><input type="file" id="file" accept="video/*,image/*" data-most="{most}" '
    'aria-describedby="sent"><span><b>Drop a clip or a picture</b> here, or choose one</span>'
    '<span id="sent" role="status"></span></label>'
    '<video id="preview" controls muted playsinline hidden></video>'
    '<img id="still" alt="the picture that was dropped" hidden>'
)
_REFUSED = '<p id="refused" class="fault" role="alert" hidden></p>'
_TAKEN = """
(question) => {
  const box = document.querySelector('#question textarea');
  if (box && box.value === question) {
    box.value = '';
    box.dispatchEvent(new Event('input', {bubbles: true}));
  }
  return [question];
}
"""
"""Empties the box as a question is sent: a server that did so would do it over what is written next."""

_NO_FLAGS = "Wrong answers are kept where the server was started with --flags FOLDER."


@dataclass(frozen=True)
class _Parts:
    """The parts that something is done with, or that change."""

    clip: Any
    picked: Any
    model: Any
    other: Any
    seen: Any
    look: Any
    looked: Any
    talks: Any
    question: Any
    ask: Any
    caption: Any
    anew: Any
    note: Any
    flagging: Any
    quoted: Any
    alone: Any
    right: Any
    keep: Any
    leave: Any


class Page:
    """What happens on the page.

    Args:
        asking: Asks the models.
        tabs: Which tab a request comes from.
        uploads: Whose clips they are.
    """

    def __init__(self, asking: Asking, tabs: Tabs, uploads: Uploads) -> None:
        self._asking, self._tabs, self._uploads = asking, tabs, uploads

    def made(self, most_bytes: int, *, keyed: bool) -> gr.Blocks:
        """The page; to be made while an event loop runs.

        Args:
            most_bytes: Of a clip.
            keyed: Whether who is here said a key, and may leave.
        """
        with gr.Blocks(title="vidapt: ask about a clip", analytics_enabled=False, fill_width=True) as blocks:
            self._wire(_laid_out(self._asking, most_bytes, keyed=keyed))
        return blocks

    def _wire(self, at: _Parts) -> None:
        """Say what happens when something is done."""
        free = {"concurrency_limit": None, "api_visibility": "private", "queue": True}
        still = free | {"show_progress": "hidden"}
        shows = [at.seen, at.talks, at.looked, at.note, at.flagging]
        at.clip.change(self._shows, [at.clip, at.model, at.other], shows, **free, show_progress_on=[at.seen])
        for choice in (at.model, at.other):
            choice.input(self._chosen, [at.model, at.other], shows, **free, show_progress_on=[at.seen])
        says = [at.question, at.talks, at.note]
        # Also while an answer comes: the next question then waits for its turn.
        any_time = still | {"trigger_mode": "multiple"}
        at.question.submit(self._asks, [at.question], says, **any_time, js=_TAKEN)
        at.ask.click(self._asks, [at.question], says, **any_time, js=_TAKEN)
        at.caption.click(self._captions, [], says, **any_time)
        at.anew.click(self._anew, [], [at.talks, at.note, at.flagging], **still)
        at.look.click(self._looks, [], [at.looked, at.note], **free, show_progress_on=[at.looked])
        picked = [at.flagging, at.quoted, at.alone, at.right, at.note]
        at.picked.change(self._picks, [at.picked], picked, **still)
        kept = [at.flagging, at.talks, at.note]
        at.keep.click(self._keeps, [at.picked, at.alone, at.right], kept, **still)
        at.leave.click(_closed, [], [at.flagging], **still)

    async def _shows(self, clip: str, model: str, other: str, request: gr.Request) -> tuple[Any, ...]:
        """Another clip."""
        tab = self._tab(request)
        file, _, suffix = clip.partition(" ")
        try:
            self._uploads.find(tab.who, file)
        except RefusedError as refused:
            return gr.skip(), gr.skip(), gr.skip(), shown.note(refused.message, bad=True), gr.skip()
        self._tabs.show(tab, file, suffix)
        return await self._begun(tab, model, other)

    async def _chosen(self, model: str, other: str, request: gr.Request) -> tuple[Any, ...]:
        """Other models; Gradio may tell of one choice twice."""
        tab = self._tab(request)
        if [side.model for side in tab.sides] == _wanted(model, other):
            return (gr.skip(),) * 5
        return await self._begun(tab, model, other)

    async def _begun(self, tab: Tab, model: str, other: str) -> tuple[Any, ...]:
        tab.begin(_wanted(model, other))
        return await self._asking.seen(tab), _talks(tab), "", "", gr.update(visible=False)

    async def _asks(self, question: str, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """A question, which comes back into its box if it is refused."""
        async for html, note, refused in self._told(self._tab(request), question):
            yield (question if refused else gr.skip()), html, note

    async def _captions(self, request: gr.Request) -> AsyncIterator[tuple[Any, ...]]:
        """A description, as `vidapt caption` asks for one."""
        async for html, note, _ in self._told(self._tab(request), CAPTION_PROMPT, alone=True):
            yield gr.skip(), html, note

    async def _told(
        self, tab: Tab, question: str, *, alone: bool = False
    ) -> AsyncIterator[tuple[str, str, bool]]:
        """The conversations as they are written, what is said beside them, and whether it is refused."""
        try:
            async for _ in self._asking.ask(tab, question, alone=alone):
                yield _talks(tab), _waiting(tab), False
        except RefusedError as refused:
            yield _talks(tab), shown.note(refused.message, bad=True), True
        else:
            yield _talks(tab), _waiting(tab), False

    async def _anew(self, request: gr.Request) -> tuple[Any, ...]:
        """Another conversation about the same clip."""
        tab = self._tab(request)
        tab.begin([side.model for side in tab.sides])
        return _talks(tab), "", gr.update(visible=False)

    async def _looks(self, request: gr.Request) -> tuple[Any, ...]:
        tab = self._tab(request)
        if not tab.file:
            return "", shown.note("drop a clip first", bad=True)
        return await self._asking.looked(tab), ""

    async def _picks(self, name: str, request: gr.Request) -> tuple[Any, ...]:
        """An answer that is wrong."""
        found = self._tab(request).find(_answer(name))
        if found is None or found[1].said is None or not self._asking.keeps:
            reason = "there is no such answer" if self._asking.keeps else _NO_FLAGS
            return gr.update(visible=False), "", "", "", shown.note(reason, bad=True)
        return gr.update(visible=True), shown.quoted(*found), found[1].question, "", ""

    async def _keeps(self, name: str, alone: str, right: str, request: gr.Request) -> tuple[Any, ...]:
        tab = self._tab(request)
        try:
            await self._asking.flag(tab, _answer(name), alone, right)
        except RefusedError as refused:
            return gr.skip(), gr.skip(), shown.note(refused.message, bad=True)
        return gr.update(visible=False), _talks(tab), shown.note(f"Kept in {FILE} for the next round.")

    def _tab(self, request: gr.Request) -> Tab:
        visit = request.request.scope["visit"]
        assert isinstance(visit, Visit)
        assert visit.granted is not None
        return self._tabs.at(visit.granted.session, str(request.session_hash), visit.who)


def _talks(tab: Tab) -> str:
    return shown.talks(tab.sides, writing=tab.busy)


def _waiting(tab: Tab) -> str:
    """What is told while questions wait."""
    if len(tab.line) == 1:
        return shown.note(f"waits for its turn: {tab.line[0].question}")
    return shown.note(f"{len(tab.line)} questions wait for their turn" if tab.line else "")


def _wanted(model: str, other: str) -> list[str]:
    return [model] if other in (_NOTHING, model) else [model, other]


def _answer(picked: str) -> str:
    """The name of an answer; what stands behind it tells one click from the next."""
    return picked.partition(" ")[0]


async def _closed() -> Any:
    return gr.update(visible=False)


def _laid_out(asking: Asking, most_bytes: int, *, keyed: bool) -> _Parts:
    models = list(asking.models)
    html = {"js_on_load": None, "apply_default_css": False}
    gr.HTML(_HEAD.format(hidden="" if keyed else " hidden"), **html)
    with gr.Row(elem_id="columns"):
        with gr.Column(elem_id="shows"):
            gr.HTML(_DROP.format(most=most_bytes), **html)
            clip = gr.Textbox(visible="hidden", elem_id="clip", max_length=100)
            with gr.Row():
                model = gr.Dropdown(models, value=models[0], label="Model", filterable=False, min_width=140)
                beside = [("nothing", _NOTHING), *((name, name) for name in models)]
                other = gr.Dropdown(
                    beside,
                    value=_NOTHING,
                    label="Beside it",
                    filterable=False,
                    visible=len(models) > 1,
                    min_width=140,
                )
        with gr.Column(elem_id="asks"):
            talks = gr.HTML(shown.talks([], writing=False), elem_id="talks", **html)
            question = gr.Textbox(
                label="Question",
                placeholder="what happens in it?",
                elem_id="question",
                max_length=MOST_LETTERS,
                lines=1,
                max_lines=6,
            )
            with gr.Row():
                ask = gr.Button("Ask", variant="primary", min_width=120)
                caption = gr.Button("Describe the clip", min_width=120)
                anew = gr.Button("Start anew", min_width=80)
            gr.HTML(_REFUSED, **html)
            note = gr.HTML(elem_id="note", **html)
            flag = _flagging(html)
        with gr.Column(elem_id="sees"):
            seen = gr.HTML(elem_id="seen", **html)
            look = gr.Button("Where does it look?", size="sm", elem_id="look")
            looked = gr.HTML(elem_id="looked", **html)
    return _Parts(
        clip=clip,
        model=model,
        other=other,
        seen=seen,
        look=look,
        looked=looked,
        talks=talks,
        question=question,
        ask=ask,
        caption=caption,
        anew=anew,
        note=note,
        **flag,
    )


def _flagging(html: dict[str, Any]) -> dict[str, Any]:
    """What is asked of whoever says that an answer is wrong."""
    picked = gr.Textbox(visible="hidden", elem_id="picked", max_length=40)
    with gr.Column(visible=False, elem_id="flagging") as flagging:
        quoted = gr.HTML(**html)
        alone = gr.Textbox(
            label="The question, so that it can be understood alone", max_length=MOST_WORDS, max_lines=6
        )
        right = gr.Textbox(
            label="What would have been right", elem_id="right", max_length=MOST_WORDS, max_lines=6
        )
        with gr.Row():
            keep = gr.Button("Keep", variant="primary", min_width=100)
            leave = gr.Button("Cancel", min_width=100)
    return {
        "picked": picked,
        "flagging": flagging,
        "quoted": quoted,
        "alone": alone,
        "right": right,
        "keep": keep,
        "leave": leave,
    }
