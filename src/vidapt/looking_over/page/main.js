// The page: which rows there are, which one is looked at, and what is decided of it.
import * as api from "./api.js";
import { by, el, shown } from "./dom.js";
import { makeFreezing, openFreezing } from "./freeze.js";
import { List } from "./list.js";
import { drawAnswer, drawRow, showBlind, VERDICTS } from "./row.js";

const NEWS_MS = 3000;
const filters = by("filters"), box = by("row");
const list = new List(by("list"), drawItem, (position) => { tiles(false); act(() => show(position)); narrow(false); });
const state = { count: 0, view: null, editing: null, checked: false, undo: [], mine: new Map(), finding: 0, opening: 0, shown: 0, deciding: null, blind: false, about: null, notes: [] };

function drawItem(node, brief, still) {
  const key = brief ? `${brief.row} ${brief.decision?.seen ?? 0}` : "";
  if (!brief) return void (node.dataset.key !== "" && ((node.dataset.key = ""), node.replaceChildren()));
  if (node.dataset.key !== key) {
    node.dataset.key = key;
    const mark = brief.decision && el("span", { class: `badge ${brief.decision.verdict}` }, VERDICTS[brief.decision.verdict]);
    node.replaceChildren(
      el("div", { class: "thumb" }),
      el("div", { class: "lines" },
        el("div", { class: "head" }, el("span", { class: "name" }, brief.question || brief.id), brief.check && el("span", { class: `badge by-check ${brief.verdict}` }, brief.check), mark),
        el("div", { class: "soft text" }, brief.text)));
  }
  const thumb = node.firstChild;
  node.title = grid() ? shown(`${brief.question}\n${brief.text}`) : "";
  if (still && brief.clip !== null && !thumb.firstChild) {
    const picture = el("img", { src: api.frame(brief.clip), alt: "", onerror: () => thumb.classList.add("broken") });
    thumb.append(picture);
  }
}

async function show(position) {
  if (position < 0 || position >= list.order.length || editing()) return;
  list.go(position);
  await open(list.order[position]);
}

// What is being written is not lost to a click elsewhere.
function editing() {
  if (state.editing) tell("Save the answer first, or cancel.");
  return Boolean(state.editing);
}

async function open(number) {
  const mine = ++state.opening;
  const row = await api.row(number);
  if (mine !== state.opening) return;
  if (state.view) state.view.live = false; // what is still asked for it is of no use any more
  state.view?.player?.close();
  state.view = drawRow(box, row, { jump: (other) => act(() => jump(other)), edit: (text) => edit(text), tell, checked: state.checked, asks: state.about.asks, blind: state.blind });
  box.scrollTop = 0;
  state.shown = mine;
  history.replaceState(null, "", `#${number}`);
  buttons();
}

// To a row that need not be among those that the filters leave.
function jump(number) {
  if (editing()) return;
  const position = list.order.indexOf(number);
  if (position >= 0) return show(position);
  return open(number);
}

async function find(wanted = null) {
  const mine = ++state.finding;
  const order = await api.find(new FormData(filters));
  if (mine !== state.finding) return; // filters were changed meanwhile
  list.set(order);
  by("found").textContent = `${order.length.toLocaleString("en")} ${order.length === 1 ? "row" : "rows"}`;
  if (order.length) await show(Math.max(0, wanted === null ? 0 : order.indexOf(wanted)));
  else { state.view?.player?.close(); state.view = null; box.replaceChildren(el("p", { class: "missing" }, "No row is like that.")); buttons(); }
}

function take({ changes, standing, stale }) {
  if (stale) note("The files have changed since the page was put up: end vidapt and start it again to see them.");
  for (const change of changes) {
    list.update(change);
    const { row } = state.view ?? {};
    if (row?.row === change.row && !state.editing) {
      row.decision = change.verdict === "undecided" ? null : change;
      drawAnswer(state.view);
      buttons();
    }
  }
  state.count = Math.max(state.count, standing.count);
  // Where nothing is in dispute, what is decided of all rows.
  const [done, all, what] = standing.disputed ? [standing.settled, standing.disputed, "disputed settled"] : [standing.decided, state.about.rows, "decided"];
  by("far").max = Math.max(1, all);
  by("far").value = done;
  by("settled").textContent = `${done.toLocaleString("en")} of ${all.toLocaleString("en")} ${what}`;
  by("settled").title = `${standing.decided} rows are decided, disputed or not`;
  by("kappa").hidden = standing.kappa === null;
  by("kappa").textContent = `κ ${standing.kappa?.toFixed(2)}`;
  by("kappa").title = "Cohen's kappa of person and checks: 1 is full agreement, 0 what chance gives";
}

const seen = ({ changes: [change] }) => (change.verdict === "undecided" ? 0 : change.seen);

async function decide(verdict, text = "") {
  const { row, why } = state.view ?? {};
  if (!row || state.opening !== state.shown) return; // nobody decides a row that is not shown yet
  const before = row.decision && { verdict: row.decision.verdict, text: row.decision.text, reason: row.decision.reason };
  const news = await api.decide({ row: row.row, verdict, text, reason: why.value.trim(), seen: row.decision?.seen ?? 0 });
  state.editing = null;
  take(news);
  state.undo.push({ row: row.row, before: before ?? { verdict: "undecided" } });
  state.mine.set(row.row, seen(news));
  buttons();
  if (list.order[list.at] === row.row) await show(Math.min(list.at + 1, list.order.length - 1));
}

async function undo() {
  const { row } = state.view ?? {};
  const last = state.undo.pop();
  if (!last && !row?.decision) return tell("Nothing was decided here yet.");
  const wish = last ? { row: last.row, seen: state.mine.get(last.row), ...last.before } : { row: row.row, seen: row.decision.seen, verdict: "undecided" };
  const news = await api.decide(wish);
  take(news);
  state.mine.set(wish.row, seen(news));
  await jump(wish.row);
}

function edit(begun = null) {
  const { row, answer } = state.view ?? {};
  if (!row || state.editing) return;
  if (!row.answer) return tell("There is no label to edit.");
  const field = el("textarea", { value: begun ?? (row.decision?.verdict === "rewrite" ? row.decision.text : row.now_answer ?? row.answer), maxLength: 1 << 20, "aria-label": "Answer" });
  const save = () => act(() => alone(() => (field.value === row.answer ? decide("keep") : decide("rewrite", field.value))));
  const cancel = () => { state.editing = null; drawAnswer(state.view); buttons(); };
  state.editing = { save, cancel };
  answer.replaceChildren(el("h3", {}, "Answer"), field,
    el("p", { class: "buttons" }, el("button", { class: "good", onclick: save }, "Save"), el("button", { onclick: cancel }, "Cancel")));
  answer.scrollIntoView({ block: "nearest" });
  field.focus();
  buttons();
}

async function nextOpen() {
  const undecided = new Set(await api.find({ ...Object.fromEntries(new FormData(filters)), state: "open" }));
  const further = list.order.subarray(list.at + 1).findIndex((row) => undecided.has(row));
  return further < 0 ? tell("No undecided row follows.") : show(list.at + 1 + further);
}

function step(by) {
  const { player, moments } = state.view ?? {};
  if (!player || !moments.length) return;
  const at = player.at ?? -1;
  const next = by > 0 ? moments.find((one) => one > at + 1e-3) : moments.findLast((one) => one < at - 1e-3);
  if (next !== undefined) player.seek(next);
}

// As the checks have it: taken as they rewrote it, set aside as they did, or kept.
const accept = (row) => (row.now_answer != null ? decide("rewrite", row.now_answer) : decide(row.verdict === "drop" ? "drop" : "keep"));

const ACTIONS = {
  accept: () => alone(() => accept(state.view.row)),
  keep: () => alone(() => decide("keep")),
  drop: () => alone(() => decide("drop")),
  take: () => state.view?.row.now_answer != null && alone(() => decide("rewrite", state.view.row.now_answer)),
  undo: () => alone(undo, true),
  edit: () => edit(),
  open: nextOpen,
  next: () => show(list.at + 1),
  previous: () => show(list.at - 1),
  down: () => show(grid() ? Math.min(list.at + list.across, list.order.length - 1) : list.at + 1),
  up: () => show(grid() ? Math.max(list.at - list.across, 0) : list.at - 1),
  tiles: () => tiles(!grid()),
  look: () => grid() && tiles(false),
  blind: () => { state.blind = !state.blind; if (state.view) showBlind(state.view, state.blind); },
  freeze: () => openFreezing(state.about.versions),
  reason: () => state.view?.why.focus(),
  play: () => state.view?.player?.toggle(),
  back: () => step(-1),
  on: () => step(1),
  search: () => { narrow(true); filters.text.select(); },
  filter: () => { narrow(true); filters.show.focus(); },
  help: () => by("help").showModal(),
};
const DECIDES = new Set(["accept", "keep", "drop", "take", "edit", "undo", "reason"]);
const KEYS = { a: "accept", k: "keep", d: "drop", x: "drop", t: "take", g: "tiles", Enter: "look", b: "blind", e: "edit", u: "undo", o: "open", n: "next", p: "previous", ArrowRight: "next", ArrowLeft: "previous", ArrowDown: "down", ArrowUp: "up", r: "reason", " ": "play", ",": "back", ".": "on", "/": "search", f: "filter", "?": "help" };

// Writes one decision after the other. A key that is pressed meanwhile would mean a row that was not seen yet, and
// is not heeded; undoing waits, as it is clear what it means.
async function alone(action, waits = false) {
  if (!state.view) return;
  if (state.deciding && !waits) return;
  const mine = (state.deciding = Promise.resolve(state.deciding).catch(() => {}).then(action));
  await mine.finally(() => { if (state.deciding === mine) state.deciding = null; });
}

async function act(action) {
  try {
    await action();
  } catch (error) {
    tell(error.message);
    if (error.status === 409) await look();
  }
}

document.addEventListener("keydown", (event) => {
  const field = event.target.closest("input, textarea, select");
  if (document.querySelector("dialog[open]")) return;
  if (state.editing && (event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey)))) {
    event.preventDefault();
    return event.key === "Escape" ? state.editing.cancel() : state.editing.save();
  }
  if (field) return void ((event.key === "Escape" || (event.key === "Enter" && field !== filters.text)) && field.tagName !== "TEXTAREA" && field.blur());
  const name = KEYS[event.key];
  if (grid() && DECIDES.has(name)) return; // of a tile too little is seen
  if (!name || event.ctrlKey || event.metaKey || event.altKey || ([" ", "Enter"].includes(event.key) && event.target.closest("button, a"))) return;
  event.preventDefault();
  act(ACTIONS[name]);
});

function buttons() {
  const row = state.view?.row, busy = Boolean(state.editing);
  for (const button of by("actions").children) {
    const name = button.dataset.do;
    button.disabled = !row || busy;
    if (name === "keep") button.hidden = !row || row.verdict === "keep";
    if (name === "drop") button.hidden = row?.verdict === "drop";
    const mine = { keep: "keep", drop: "drop" }[name];
    button.setAttribute("aria-pressed", Boolean(mine && row?.decision?.verdict === mine));
  }
}

const grid = () => document.body.classList.contains("tiles");

function tiles(wanted) {
  if (wanted === grid() || (wanted && editing())) return;
  document.body.classList.toggle("tiles", wanted);
  by("tiles-button").setAttribute("aria-pressed", wanted);
  if (wanted) state.view?.player?.pause();
  list.tiles(wanted);
}

function narrow(rows) {
  document.body.classList.toggle("shows-rows", rows);
  by("rows-button").setAttribute("aria-expanded", rows);
  by("rows-button").textContent = rows ? "Clip" : "Rows";
}

function tell(text) {
  by("toast").textContent = shown(text);
  by("toast").hidden = false;
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => { by("toast").hidden = true; }, 5000);
}

// What stays on the page, each said once.
function note(text) {
  if (!state.notes.includes(shown(text))) state.notes.push(shown(text));
  by("notes").textContent = state.notes.join(" · ");
  by("notes").hidden = false;
}

const look = async () => take(await api.news(state.count));

function choices(name, counts) {
  const options = Object.entries(counts).map(([value, count]) => el("option", { value }, `${value} (${count.toLocaleString("en")})`));
  filters[name].replaceChildren(el("option", { value: "" }, "any"), ...options);
  filters[name].parentElement.hidden = !options.length;
}

async function begin() {
  const about = (state.about = await api.start());
  by("title").textContent = document.title = about.title;
  by("file").textContent = `Decisions go to ${shown(about.file)}${about.by && `, by ${shown(about.by)}`}.`;
  for (const one of about.notes) note(one);
  for (const [name, counts] of Object.entries(about.facets)) choices(name, counts);
  take({ changes: [], standing: about.standing });
  state.checked = Object.keys(about.facets.check).length > 0;
  filters.show.value = about.show;
  filters.addEventListener("change", () => act(find));
  filters.addEventListener("submit", (event) => { event.preventDefault(); filters.text.blur(); });
  filters.text.addEventListener("input", () => { clearTimeout(find.timer); find.timer = setTimeout(() => act(find), 250); });
  by("actions").addEventListener("click", ({ target }) => { const name = target.closest("button")?.dataset.do; if (name) act(ACTIONS[name]); });
  by("help-button").addEventListener("click", ACTIONS.help);
  by("tiles-button").addEventListener("click", ACTIONS.tiles);
  by("freeze-button").addEventListener("click", ACTIONS.freeze);
  makeFreezing();
  by("rows-button").addEventListener("click", () => narrow(!document.body.classList.contains("shows-rows")));
  const wanted = /^#\d+$/.test(location.hash) ? Number(location.hash.slice(1)) : null;
  await find(wanted);
  setInterval(() => document.hidden || look().catch((error) => error.status && tell(error.message)), NEWS_MS);
}

act(begin);
