// What a label says, claim by claim, and what models say to the same question, side by side.
import { answer as askModel } from "./api.js";
import { differing, el, marked, seconds, shown } from "./dom.js";

const SAID = { supported: "the clip bears it out", unseen: "the clip does not show it", contradicted: "the clip speaks against it", unchecked: "nothing to be checked" };
const RIGHT = (right) => right !== null && el("b", { class: right ? "right" : "wrong" }, right ? "right" : "wrong");

// Why a claim is marked as it is.
export function reason({ verdict, type, evidence, agreement, kept }) {
  const told = [kept ? null : "taken out", SAID[verdict], type];
  if (evidence !== null) told.push(`evidence ${evidence.toFixed(2)}`);
  if (agreement !== null) told.push(`agreement ${agreement.toFixed(2)}`);
  return told.filter(Boolean).join(" · ");
}

// A text with its claims: their places are counted in code points, as Python counts letters.
export function claimed(text, claims) {
  const letters = Array.from(text), parts = [];
  let at = 0;
  for (const one of claims) {
    parts.push(letters.slice(at, one.start).join(""));
    parts.push(el("span", { class: `claim ${one.verdict} ${one.kept ? "" : "out"}`, title: shown(reason(one)) }, letters.slice(one.start, one.end).join("")));
    at = one.end;
  }
  return [...parts, letters.slice(at).join("")];
}

export const without = (text, { start, end }) => {
  const letters = Array.from(text);
  return [...letters.slice(0, start), ...letters.slice(end)].join("").trim();
};

// The claims in a list, for who has no pointer to hold over them; `remove(text)` edits the answer.
export function claimList(row, remove) {
  const letters = Array.from(row.answer);
  return el("ul", { class: "claims" }, row.claims.filter(({ verdict }) => verdict !== "unchecked").map((one) =>
    el("li", { class: one.verdict }, el("span", { dir: "auto" }, letters.slice(one.start, one.end).join("").trim()), el("small", { class: "soft" }, ` ${reason(one)} `),
      el("button", { onclick: () => remove(without(row.answer, one)), title: "edit the answer to one without it" }, "take out"))));
}

// One card for each model; the words that the label does not have are marked.
export function cards(row, view) {
  return row.answers.map((one) => el("article", { class: "card" },
    el("h3", {}, one.model, " ", RIGHT(one.right)),
    one.question && el("p", { class: "soft" }, one.question),
    one.text === null
      ? el("p", { class: "soft" }, "says nothing to this question")
      : el("p", { class: "text", dir: "auto" }, compared(row.answer, one.text)),
    arms(one, view)));
}

function compared(label, text) {
  const parts = differing(label, text)[1];
  const same = parts.some(([words, other]) => !other && /\w/.test(words));
  return same ? marked(parts, "other") : text || "(an empty answer)";
}

function arms({ arms: all, model }, view) {
  if (!all.length) return null;
  const box = el("div", { class: "arms", hidden: !view.blind }, all.map(({ arm, text, right }) =>
    el("p", {}, el("small", { class: "soft" }, `${ARMS[arm] ?? arm}: `), el("span", { dir: "auto" }, text || "(an empty answer)"), " ", RIGHT(right))));
  view.arms.push(box);
  return [el("button", { class: "quiet", onclick: () => { box.hidden = !box.hidden; }, title: `what ${shown(model)} says without the clip, or with another (b)` }, "without the clip"), box];
}

const ARMS = { blind: "without the clip", shuffled: "with another clip", majority: "the commonest answer" };

// A model that is asked now. `saw(name, times)` is told what it looked at.
export function askCard(row, name, saw, tell) {
  const box = el("div", {});
  const buttons = [["Ask", false], ["Ask without the clip", true]].map(([words, blind]) => el("button", { class: "quiet", onclick: (event) => go(event.target, blind) }, words));
  async function go(button, blind) {
    for (const one of buttons) one.disabled = true;
    button.textContent = "is answering …";
    try {
      const told = await askModel(row.row, blind);
      box.prepend(el("p", { class: "text", dir: "auto" }, el("small", { class: "soft" }, blind ? "without the clip: " : ""), compared(row.answer, told.text), el("small", { class: "soft" }, ` ${seconds(told.seconds)}`)));
      if (!blind) saw(told.model, told.frames, told.spans);
    } catch (error) {
      tell(error.message);
    }
    buttons.forEach((one, at) => { one.disabled = false; one.textContent = ["Ask", "Ask without the clip"][at]; });
  }
  return el("article", { class: "card" }, el("h3", {}, `${name}, asked now`), box, el("p", { class: "buttons" }, buttons));
}
