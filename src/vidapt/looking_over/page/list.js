// Rows in any number, as a list or as tiles, of which only what is seen is there. They are read in blocks, when
// scrolling pauses.
import { rows } from "./api.js";
import { el } from "./dom.js";

const LIST = { height: 64, width: Infinity, around: 6 }, TILES = { height: 172, width: 176, around: 2 };
const BLOCK = 100;
const TALLEST = 8_000_000; // pixels; browsers draw nothing beyond some tens of millions
const PAUSE_MS = 80;

export class List {
  // `draw(node, brief, still)` fills a row's node; `pick(position)` is called for a click.
  constructor(box, draw, pick) {
    Object.assign(this, { box, draw, pick, order: new Uint32Array(), briefs: new Map(), nodes: new Map(), at: -1, asked: 0, shape: LIST, across: 1 });
    this.space = el("div", { class: "space" });
    box.append(this.space);
    box.addEventListener("scroll", () => this.paint(), { passive: true });
    new ResizeObserver(() => this.fit()).observe(box);
  }

  set(order) {
    this.order = order;
    this.at = -1;
    this.asked++;
    this.box.scrollTop = 0;
    this.fit(true);
  }

  tiles(wanted) {
    const seen = this.at >= 0 ? this.at : this.first;
    this.shape = wanted ? TILES : LIST;
    this.fit(true);
    if (seen >= 0) this.reveal(seen);
  }

  // How many stand side by side follows from how wide the box is.
  fit(anew = false) {
    const { clientWidth } = this.box, across = Math.max(1, Math.floor(clientWidth / this.shape.width));
    this.stale ||= anew;
    if (!clientWidth) return; // not seen on a phone that shows the clip
    if (this.stale || across !== this.across) {
      Object.assign(this, { across, stale: false });
      this.space.replaceChildren();
      this.nodes.clear();
      this.space.style.height = `${Math.min(this.tall, TALLEST)}px`;
    }
    this.paint();
  }

  get tall() { return Math.ceil(this.order.length / this.across) * this.shape.height; }

  // How far the rows are moved for each pixel of scrolling: 1, but in the longest lists.
  get pace() {
    const view = this.box.clientHeight;
    return Math.max(1, (this.tall - view) / Math.max(1, Math.min(this.tall, TALLEST) - view));
  }

  get first() { return Math.min(this.order.length - 1, Math.floor((this.box.scrollTop * this.pace) / this.shape.height) * this.across); }

  paint() {
    const { scrollTop, clientHeight } = this.box, { height, around } = this.shape, top = scrollTop * this.pace;
    const first = Math.max(0, Math.floor(top / height) - around) * this.across;
    const last = Math.min(this.order.length, (Math.ceil((top + clientHeight) / height) + around) * this.across);
    for (const [position, node] of this.nodes) {
      if (position < first || position >= last) { node.remove(); this.nodes.delete(position); }
    }
    let missing = false;
    for (let position = first; position < last; position++) {
      let node = this.nodes.get(position);
      if (!node) {
        node = el("div", { class: "item", role: "option", onclick: () => this.pick(position) });
        node.style.left = `${(100 * (position % this.across)) / this.across}%`;
        node.style.width = `${100 / this.across}%`;
        this.nodes.set(position, node);
        this.space.append(node);
        this.fill(position);
      }
      node.style.transform = `translateY(${scrollTop + Math.floor(position / this.across) * height - top}px)`;
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
    this.draw(node, this.briefs.get(this.order[position]), still);
  }

  // Scrolling has paused: read what is missing, and let pictures be asked for. That no server answers is told by keys.
  async settle(first, last, missing) {
    const asked = this.asked;
    if (missing) await this.read(Math.max(0, first - BLOCK / 4), Math.min(this.order.length, last + BLOCK / 4));
    if (asked === this.asked) for (const position of this.nodes.keys()) this.fill(position, true);
  }

  async read(first, last) {
    if (this.briefs.size > 20 * BLOCK) this.briefs.clear();
    const wanted = Array.from(this.order.subarray(first, last)).filter((row) => !this.briefs.has(row));
    for (let from = 0; from < wanted.length; from += BLOCK) {
      for (const brief of await rows(wanted.slice(from, from + BLOCK))) this.briefs.set(brief.row, brief);
    }
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
    this.reveal(position);
    this.fill(position, true);
  }

  reveal(position) {
    const { height } = this.shape, line = Math.floor(position / this.across);
    const view = this.box.clientHeight, top = this.box.scrollTop * this.pace;
    if (line * height < top) this.box.scrollTop = (line * height) / this.pace;
    else if ((line + 1) * height > top + view) this.box.scrollTop = ((line + 1) * height - view) / this.pace;
  }
}
