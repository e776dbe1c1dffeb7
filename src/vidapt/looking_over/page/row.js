// A row with all that is known of it: what it says, what a check made of it, where it comes from, what models say.
import { frame, seen } from "./api.js";
import { askCard, cards, claimed, claimList } from "./beside.js";
import { Player } from "./clip.js";
import { differing, el, marked, seconds, shown } from "./dom.js";

const MEDIA = /<video>\s*/g;
const ROLES = { system: "System", user: "Question", assistant: "Answer before" };
const MOST_FRAMES = 64;
export const VERDICTS = { keep: "kept", drop: "dropped", rewrite: "edited", undecided: "" };

const part = (title, ...children) => el("section", {}, el("h3", {}, title), ...children);
const link = (href, go, text) => el("a", { href, onclick: (event) => { event.preventDefault(); go(); } }, text);
const words = (fact) => [fact.subject, fact.predicate, fact.object, ...fact.attributes].filter(Boolean).join(" ");

// Draws a row into `box`; gives what keys need: the player, the moments that a model saw, and the answer's place.
export function drawRow(box, row, { jump, edit, tell, checked, asks, blind }) {
  const player = row.clips.length ? new Player(row.clips[0]) : null;
  const answer = el("div", { class: "answer" });
  const decision = el("p", { class: "decision" });
  const view = { live: true, row, player, answer, decision, blind, arms: [], sources: sources(row), lanes: lanes(row), moments: [], why: el("input", { class: "why", maxLength: 1000, placeholder: "reason, if you want to give one" }) };
  view.strip = el("div", { class: "strip" });
  view.chooser = el("div", { class: "chooser" });
  const models = [...cards(row, view), ...(asks ? [askCard(row, asks, (name, at, spans) => saw(view, name, at, spans), tell)] : [])];
  const label = el("div", { class: "label" }, answer, row.claims.length > 0 && claimList(row, edit));
  const parts = [
    el("p", { class: "eyebrow" }, row.id, row.type && ` · ${row.type}`, ` · ${row.source}`, row.differ.map((told) => el("span", { class: "badge differ" }, told))),
    el("div", { class: "sides" },
      el("div", { class: "seen" }, player?.node ?? el("p", { class: "missing" }, "This row has no clip."),
        row.clips.slice(1).map((one) => { const more = new Player(one); more.open(); return more.node; }),
        view.chooser, view.strip),
      el("div", { class: "told" },
        ...turns(row), !models.length && label, decision, (checked || row.check) && verdict(row), view.why,
        !models.length && further(row, view))),
    models.length > 0 && el("div", { class: "beside" }, el("article", { class: "card" }, label), models),
    models.length > 0 && el("div", { class: "further" }, further(row, view)),
    row.others.length > 0 && part("Other rows of the clip", others(row.others, jump)),
  ];
  box.replaceChildren(...parts.filter(Boolean));
  drawAnswer(view);
  player?.open().then((sound) => sound && view.live && choose(view, 0));
  return view;
}

const further = (row, view) => [
  row.clauses.length > 0 && part("Clauses and their facts", clauses(row, view)),
  row.predictions.length > 0 && part("What models say of the clip besides", said(row.predictions)),
  row.made.voices.length > 0 && part(voicesTitle(row.made), voices(row.made.voices)),
  row.made.flags.length > 0 && part("Flags", el("p", {}, row.made.flags.join(", "))),
  row.made.notes.length > 0 && part("Notes of decoding", el("p", {}, row.made.notes.join("; "))),
];

// What the row says, as it came and as it is by what was decided.
export function drawAnswer({ row, answer, decision }) {
  const change = row.decision, now = change?.verdict === "rewrite" ? change.text : row.now_answer;
  const [before, after] = differing(row.answer, now ?? row.answer);
  const title = change?.verdict === "rewrite" ? "edited to" : `rewritten by ${row.check}`;
  const told = row.claims.length ? claimed(row.answer, row.claims) : now == null ? [row.answer] : marked(before, "gone");
  answer.replaceChildren(
    el("h3", {}, now == null ? "Label" : "Label, as it came"),
    el("p", { class: "text", dir: "auto" }, ...told),
    ...row.references.map((text) => el("p", { class: "text soft", dir: "auto" }, `or: ${text}`)),
    ...(now == null ? [] : [el("h3", {}, title), el("p", { class: "text", dir: "auto" }, ...marked(after, "come"))]),
  );
  const said = change ? `${VERDICTS[change.verdict]}${change.by && ` by ${change.by}`}${change.reason && `: ${change.reason}`}` : "";
  decision.className = `decision ${change?.verdict ?? ""}`;
  decision.replaceChildren(shown(said));
  decision.hidden = !change;
}

export function showBlind(view, wanted) {
  view.blind = wanted;
  for (const box of view.arms) box.hidden = !wanted;
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

// Whose frames can be shown; `at` is null where they are found by the model's policy once they are asked for.
function sources(row) {
  const found = row.frames.length ? [{ name: row.made.teachers.join(", ") || "the teacher", at: row.frames }] : [];
  const add = (name, at, column = null) => !found.some((one) => one.name === name) && found.push({ name, at, column });
  for (const { model, frames, column, policy } of row.answers) {
    if (frames.length) add(model, frames);
    else if (policy) add(model, null, column);
  }
  for (const { model, frames } of row.predictions) if (frames.length) add(model, frames);
  return found;
}

// What a model looked at that was asked just now.
function saw(view, name, at, spans) {
  const asked = `${name}, asked now`;
  view.sources = [...view.sources.filter((one) => one.name !== asked), { name: asked, at }];
  view.lanes = [...view.lanes.filter((one) => one.name !== asked), { name: asked, kind: "model", stretches: stretches(spans) }];
  choose(view, view.sources.length - 1);
}

async function choose(view, number) {
  const { sources: all, row, player, chooser } = view, one = all[number];
  const title = ({ name, at }) => (at === null ? `frames that ${name} sees` : `${at.length} frames that ${name} saw`);
  const options = all.map((each, place) => el("option", { value: place, selected: place === number }, title(each)));
  const change = ({ target }) => choose(view, Number(target.value));
  chooser.replaceChildren(...(all.length > 1 ? [el("select", { onchange: change, "aria-label": "Whose frames" }, options)] : one ? [el("h3", {}, options[0].textContent)] : []));
  if (one && one.at === null) {
    frames(view, []);
    one.at = await seen(row.clips[0].clip, one.column).catch(() => []);
    return view.live && choose(view, number);
  }
  frames(view, one?.at ?? []);
}

const stretches = (spans) => spans.map(([from, to]) => ({ from, to, words: "says so" }));

// The line of time: what the label and facts say, and then each model.
function lanes(row) {
  const start = row.clips[0]?.start_s ?? 0;
  const stated = row.made.facts.map((fact) => ({ from: start + fact.start_s, to: start + fact.end_s, words: words(fact) }));
  return [
    { name: "facts", kind: "", stretches: stated },
    { name: "label", kind: "said", stretches: stretches(row.spans) },
    ...row.answers.map(({ model, spans }) => ({ name: model, kind: "model", stretches: stretches(spans) })),
  ];
}

function frames(view, moments) {
  const { player, strip } = view;
  view.moments = moments;
  player.draw(moments, view.lanes);
  strip.replaceChildren(...moments.slice(0, MOST_FRAMES).map((at) =>
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
