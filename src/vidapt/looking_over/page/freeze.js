// All rows as they stand, frozen into a version that a recipe names.
import { freeze } from "./api.js";
import { by, el, shown } from "./dom.js";

export function openFreezing(folder) {
  by("freeze-where").textContent = `A new folder in ${shown(folder)}. Rows are frozen as decided; where nobody decided, as checks have them.`;
  by("frozen").replaceChildren();
  by("freeze").showModal();
  by("freeze-name").focus();
}

export function makeFreezing() {
  by("freeze-form").addEventListener("submit", async (event) => {
    if (event.submitter?.value !== "freeze") return;
    event.preventDefault();
    const button = event.submitter;
    button.disabled = true;
    by("frozen").replaceChildren(el("p", { class: "soft" }, "Files are read …"));
    try {
      by("frozen").replaceChildren(...told(await freeze(by("freeze-name").value.trim())));
    } catch (error) {
      by("frozen").replaceChildren(el("p", { class: "wrong", role: "alert" }, error.message));
    }
    button.disabled = false;
  });
}

const told = ({ folder, version, rows, left_out: left }) => [
  el("p", {}, `${rows.toLocaleString("en")} rows are frozen${left ? `; ${left} could not be, and left_out.jsonl says why` : ""}. A recipe names them:`),
  el("pre", {}, `data:\n  path: ${folder}\n  version: ${version}`),
];
