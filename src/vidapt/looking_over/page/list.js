// A list of any length, of which only what is seen is there. Rows are read in blocks, when scrolling pauses.
import { rows } from "./api.js";
import { el } from "./dom.js";

const HEIGHT = 64, BLOCK = 100, AROUND = 6;
const TALLEST = 8_000_000; // pixels; browsers draw nothing beyond some tens of millions
const PAUSE_MS = 80;

export class List {
  // `draw(node, brief, loaded)` fills a row's node; `pick(position)` is called for a click.
  constructor(box, draw, pick) {
    Object.assign(this, { box, draw, pick, order: new Uint32Array(), briefs: new Map(), nodes: new Map(), at: -1, asked: 0 });
    this.space = el("div", { class: "space" });
    box.append(this.space);
    box.addEventListener("scroll", () => this.paint(), { passive: true });
    new ResizeObserver(() => this.paint()).observe(box);
  }

  set(order) {
    this.order = order;
    this.at = -1;
    this.asked++;
    this.space.style.height = `${Math.min(order.length * HEIGHT, TALLEST)}px`;
    this.space.replaceChildren();
    this.nodes.clear();
    this.box.scrollTop = 0;
    this.paint();
  }

  // How far the rows are moved for each pixel of scrolling: 1, but in the longest lists.
  get pace() {
    const view = this.box.clientHeight;
    return Math.max(1, (this.order.length * HEIGHT - view) / Math.max(1, Math.min(this.order.length * HEIGHT, TALLEST) - view));
  }

  paint() {
    const { scrollTop, clientHeight } = this.box, top = scrollTop * this.pace;
    const first = Math.max(0, Math.floor(top / HEIGHT) - AROUND);
    const last = Math.min(this.order.length, Math.ceil((top + clientHeight) / HEIGHT) + AROUND);
    for (const [position, node] of this.nodes) {
      if (position < first || position >= last) { node.remove(); this.nodes.delete(position); }
    }
    let missing = false;
    for (let position = first; position < last; position++) {
      let node = this.nodes.get(position);
      if (!node) {
        node = el("div", { class: "item", role: "option", onclick: () => this.pick(position) });
        this.nodes.set(position, node);
        this.space.append(node);
        this.fill(position);
      }
      node.style.transform = `translateY(${scrollTop + position * HEIGHT - top}px)`;
      missing ||= !this.briefs.has(this.order[position]);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(first, last, missing).catch(() => {}), missing && this.briefs.size === 0 ? 0 : PAUSE_MS);
  }

  fill(position, still = false) {
    const node = this.nodes.get(position);
    if (!node) return;
    node.classList.toggle("at", position === this.at);
    node.setAttribute("aria-selected", position === this.at);
    this.draw(node, this.briefs.get(this.order[position]), position, still);
  }

  // Scrolling has paused: read what is missing, and let pictures be asked for. That no server answers is told by keys.
  async settle(first, last, missing) {
    const asked = this.asked;
    if (missing) await this.read(Math.max(0, first - BLOCK / 4), Math.min(this.order.length, last + BLOCK / 4));
    if (asked === this.asked) for (const position of this.nodes.keys()) this.fill(position, true);
  }

  async read(first, last) {
    if (this.briefs.size > 20 * BLOCK) this.briefs.clear();
    const wanted = Array.from(this.order.subarray(first, Math.min(last, first + BLOCK))).filter((row) => !this.briefs.has(row));
    if (wanted.length) for (const brief of await rows(wanted)) this.briefs.set(brief.row, brief);
  }

  // A row was decided, here or by somebody else.
  update(decision) {
    const brief = this.briefs.get(decision.row);
    if (brief) brief.decision = decision.verdict === "undecided" ? null : decision;
    for (const position of this.nodes.keys()) if (this.order[position] === decision.row) this.fill(position, true);
  }

  go(position) {
    const before = this.at;
    this.at = position;
    this.fill(before, true);
    const view = this.box.clientHeight, top = this.box.scrollTop * this.pace;
    if (position * HEIGHT < top) this.box.scrollTop = (position * HEIGHT) / this.pace;
    else if ((position + 1) * HEIGHT > top + view) this.box.scrollTop = ((position + 1) * HEIGHT - view) / this.pace;
    this.fill(position, true);
  }
}
