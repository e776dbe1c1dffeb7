// A row with all that is known of it: what it says, what a check made of it, where it comes from, what models say.
import { frame } from "./api.js";
import { Player } from "./clip.js";
import { differing, el, seconds, shown } from "./dom.js";

const MEDIA = /<video>\s*/g;
const ROLES = { system: "System", user: "Question", assistant: "Answer before" };
const MOST_FRAMES = 64;
export const VERDICTS = { keep: "kept", drop: "dropped", rewrite: "edited", undecided: "" };

const part = (title, ...children) => el("section", {}, el("h3", {}, title), ...children);
const link = (href, go, text) => el("a", { href, onclick: (event) => { event.preventDefault(); go(); } }, text);
const marked = ([head, middle, tail], kind) => [head, middle && el("mark", { class: kind }, middle), tail];
const words = (fact) => [fact.subject, fact.predicate, fact.object, ...fact.attributes].filter(Boolean).join(" ");

// Draws a row into `box`; gives what keys need: the player, the moments that a model saw, and the answer's place.
export function drawRow(box, row, jump, checked) {
  const player = row.clips.length ? new Player(row.clips[0]) : null;
  const answer = el("div", { class: "answer" });
  const decision = el("p", { class: "decision" });
  const sources = moments(row);
  const view = { row, player, answer, decision, moments: sources[0]?.at ?? [], why: el("input", { class: "why", maxLength: 1000, placeholder: "reason, if you want to give one" }) };
  const strip = el("div", { class: "strip" });
  box.replaceChildren(
    el("p", { class: "eyebrow" }, row.id, row.type && ` · ${row.type}`, ` · ${row.source}`),
    el("div", { class: "sides" },
      el("div", { class: "seen" }, player?.node ?? el("p", { class: "missing" }, "This row has no clip."),
        row.clips.slice(1).map((one) => { const more = new Player(one); more.open(); return more.node; }),
        sources.length > 0 && pickSource(sources, strip, view), strip),
      el("div", { class: "told" },
        ...turns(row), answer, decision, (checked || row.check) && verdict(row), view.why,
        row.clauses.length > 0 && part("Clauses and their facts", clauses(row, view)),
        row.predictions.length > 0 && part("What models say", said(row.predictions)),
        row.made.voices.length > 0 && part(voicesTitle(row.made), voices(row.made.voices)),
        row.made.flags.length > 0 && part("Flags", el("p", {}, row.made.flags.join(", "))),
        row.made.notes.length > 0 && part("Notes of decoding", el("p", {}, row.made.notes.join("; "))),
        row.others.length > 0 && part("Other rows of the clip", others(row.others, jump)))),
  );
  drawAnswer(view);
  player?.open().then((sound) => sound && frames(view, strip));
  return view;
}

// What the row says, as it came and as it is by what was decided.
export function drawAnswer({ row, answer, decision }) {
  const change = row.decision, now = change?.verdict === "rewrite" ? change.text : row.now_answer;
  const [before, after] = differing(row.answer, now ?? row.answer);
  const title = change?.verdict === "rewrite" ? "edited to" : `rewritten by ${row.check}`;
  answer.replaceChildren(
    el("h3", {}, now === null || now === undefined ? "Answer" : "Answer, as it came"),
    el("p", { class: "text", dir: "auto" }, ...(now == null ? [row.answer] : marked(before, "gone"))),
    ...row.references.map((text) => el("p", { class: "text soft", dir: "auto" }, `or: ${text}`)),
    ...(now == null ? [] : [el("h3", {}, title), el("p", { class: "text", dir: "auto" }, ...marked(after, "come"))]),
  );
  const said = change ? `${VERDICTS[change.verdict]}${change.by && ` by ${change.by}`}${change.reason && `: ${change.reason}`}` : "";
  decision.className = `decision ${change?.verdict ?? ""}`;
  decision.replaceChildren(shown(said));
  decision.hidden = !change;
}

function turns(row) {
  const before = row.turns.slice(0, -1).map(({ role, text }) =>
    [el("h3", {}, ROLES[role]), el("p", { class: "turn", dir: "auto" }, text.replace(MEDIA, ""))]);
  return before.flat();
}

function verdict(row) {
  if (!row.check) return el("p", { class: "verdict keep" }, "No check changed this row.");
  const did = row.verdict === "drop" ? "set it aside" : row.verdict === "rewrite" ? "rewrote it" : "had changed it";
  return el("p", { class: `verdict ${row.verdict}` }, el("b", {}, row.check), ` ${did}`, row.reason && `: ${row.reason}`);
}

function moments(row) {
  const found = row.frames.length ? [{ name: row.made.teachers.join(", ") || "the teacher", at: row.frames }] : [];
  for (const { model, frames } of row.predictions) {
    if (frames.length && !found.some(({ name }) => name === model)) found.push({ name: model, at: frames });
  }
  return found;
}

function pickSource(sources, strip, view) {
  const options = sources.map(({ name, at }, number) => el("option", { value: number }, `${at.length} frames that ${name} saw`));
  const change = ({ target }) => { view.moments = sources[target.value].at; frames(view, strip); };
  return sources.length > 1 ? el("select", { onchange: change, "aria-label": "Whose frames" }, options) : el("h3", {}, options[0].textContent);
}

function frames(view, strip) {
  const { player, row } = view, start = row.clips[0].start_s;
  const said = row.spans.map(([from, to]) => ({ from, to, words: "the answer says so", kind: "said" }));
  const stated = row.made.facts.map((fact) => ({ from: start + fact.start_s, to: start + fact.end_s, words: words(fact), kind: "" }));
  player.draw(view.moments, [...stated, ...said]);
  strip.replaceChildren(...view.moments.slice(0, MOST_FRAMES).map((at) =>
    el("button", { onclick: () => player.seek(at), title: `show the frame at ${seconds(at)}` },
      el("img", { src: frame(player.clip, at), alt: "", loading: "lazy" }), seconds(at))));
}

function clauses(row, view) {
  const facts = new Map(row.made.facts.map((fact) => [fact.id, fact])), start = row.clips[0]?.start_s ?? 0;
  const item = (id) => {
    const fact = facts.get(id);
    if (!fact) return el("li", { class: "soft" }, `${id} (not among the facts)`);
    const go = () => view.player?.seek(start + fact.start_s);
    return el("li", {}, link("#", go, `${seconds(fact.start_s)}–${seconds(fact.end_s)}`), ` ${words(fact)}`, fact.visibility && fact.visibility !== "clear" && ` (${fact.visibility})`);
  };
  return row.clauses.map(({ text, facts: ids, borne_out: share }) =>
    el("div", { class: `clause ${share === null ? "" : share < 0.5 ? "bad" : "good"}` },
      el("p", { dir: "auto" }, text, share !== null && el("span", { class: "soft" }, ` ${Math.round(100 * share)} % of its words stand in its facts`)),
      el("ul", {}, ids.map(item))));
}

const said = (predictions) => el("dl", { class: "said" }, predictions.map(({ model, question, text, right }) =>
  el("div", {}, el("dt", {}, model, right !== null && el("b", { class: right ? "right" : "wrong" }, right ? " right" : " wrong")),
    el("dd", { dir: "auto" }, el("span", { class: "soft" }, `${question.replace(MEDIA, "")} `), text))));

const voicesTitle = ({ agreement }) => `Voices${agreement === null ? "" : `, which agree by ${agreement.toFixed(2)}`}`;

const voices = (all) => el("dl", { class: "said" }, all.map(({ teacher, text, agreement }) =>
  el("div", {}, el("dt", {}, teacher, agreement !== null && ` ${agreement.toFixed(2)}`), el("dd", { dir: "auto" }, text))));

const others = (rows, jump) => el("ul", { class: "others" }, rows.map((one) =>
  el("li", {}, link(`#${one.row}`, () => jump(one.row), one.question || one.id), ` ${one.text}`,
    one.check && el("span", { class: "badge" }, one.check),
    one.decision && el("span", { class: `badge ${one.decision.verdict}` }, VERDICTS[one.decision.verdict]))));
