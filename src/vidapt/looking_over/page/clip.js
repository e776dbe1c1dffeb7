// A clip: the browser's player, or where it cannot play the file, frames as vidapt decodes them; and a line of time.
import { clip as describe, footage, frame } from "./api.js";
import { el, seconds } from "./dom.js";

const STEPS_S = 0.25; // between the frames that stand in for a film

function at(node, top) {
  node.style.top = `${top}px`;
  return node;
}

export class Player {
  constructor({ clip, name, start_s, end_s }) {
    Object.assign(this, { clip, start: start_s, end: end_s, playing: null });
    this.stage = el("div", { class: "stage" });
    this.line = el("div", { class: "line", onclick: (event) => this.touch(event), title: "Click to go there" });
    this.cursor = el("i", { class: "cursor" });
    this.now = el("b", {});
    this.said = el("p", { class: "soft" }, this.now, name);
    this.node = el("div", { class: "player" }, this.stage, this.line, this.said);
  }

  async open() {
    const about = await describe(this.clip);
    if (about.reason) {
      this.stage.replaceChildren(el("p", { class: "missing" }, `This clip cannot be shown: ${about.reason}.`));
      this.line.hidden = true;
      return false;
    }
    this.end = Math.min(this.end ?? Infinity, about.duration_s || Infinity);
    if (!Number.isFinite(this.end)) this.end = this.start;
    this.said.append(` · ${about.width}×${about.height} · ${about.codec}` + (about.rate ? ` · ${about.rate.toFixed(2)} per second` : ""));
    this.stage.style.aspectRatio = `${about.width} / ${about.height}`;
    if (about.plays) this.film();
    else this.frames("");
    this.line.hidden = this.end <= this.start;
    return true;
  }

  film() {
    this.video = el("video", { src: `${footage(this.clip)}#t=${this.start},${this.end}`, controls: true, muted: true, preload: "metadata", playsInline: true });
    this.video.addEventListener("error", () => this.frames("This browser does not play the file; these are frames as vidapt decodes them."));
    this.video.addEventListener("timeupdate", () => this.moved(this.video.currentTime));
    this.video.addEventListener("play", () => this.picture?.remove());
    this.stage.replaceChildren(this.video);
  }

  frames(why) {
    this.video?.removeAttribute("src");
    this.video = null;
    if (why) this.node.append(el("p", { class: "note" }, why));
    this.stage.replaceChildren();
    this.still((this.start + this.end) / 2);
    if (this.end > this.start) this.stage.append(el("button", { class: "play", onclick: () => this.toggle() }, "Play frames"));
  }

  // The exact frame of a moment, over the player.
  async still(at) {
    this.video?.pause();
    const picture = el("img", { class: "still", src: frame(this.clip, at, true), alt: `frame at ${seconds(at)}` });
    this.moved(at);
    await picture.decode().catch(() => { picture.alt = "this frame cannot be shown"; });
    if (this.at !== at) return;
    this.picture?.remove();
    this.stage.append((this.picture = picture));
  }

  toggle() {
    if (this.video) {
      if (!this.video.paused) return this.video.pause();
      if (this.at < this.start || this.at >= this.end - 0.05) this.video.currentTime = this.start;
      return this.video.play().catch(() => {});
    }
    if (this.playing) return this.pause();
    const from = this.at >= this.end - STEPS_S ? this.start : this.at;
    this.playing = {};
    this.run(this.playing, from);
  }

  async run(mine, at) {
    for (; this.playing === mine && at < this.end; at += STEPS_S) {
      await Promise.all([this.still(at), new Promise((go) => setTimeout(go, STEPS_S * 1000))]);
    }
    if (this.playing === mine) this.playing = null;
  }

  pause() {
    this.playing = null;
    this.video?.pause();
  }

  // Nothing more is read of the file.
  close() {
    this.pause();
    this.video?.removeAttribute("src");
    this.video?.load();
  }

  seek(at) {
    this.playing = null;
    if (this.video) this.video.currentTime = at;
    this.still(at);
  }

  moved(at) {
    this.at = at;
    this.cursor.style.left = this.share(at);
    this.now.textContent = this.end > this.start ? `${seconds(at)} of ${seconds(this.end)} · ` : "";
    if (this.video && !this.video.paused && at >= this.end) this.video.pause();
  }

  share(at) {
    const share = (at - this.start) / Math.max(1e-6, this.end - this.start);
    return `${100 * Math.min(1, Math.max(0, share))}%`;
  }

  touch(event) {
    const { left, width } = this.line.getBoundingClientRect();
    this.seek(this.start + ((event.clientX - left) / width) * (this.end - this.start));
  }

  // Moments as ticks; of each lane (who says so) its stretches as bars: seconds of the file.
  draw(moments, lanes) {
    const some = lanes.filter(({ stretches }) => stretches.length), high = Math.max(22, 15 * some.length + 6);
    this.line.style.height = `${high}px`;
    const bars = some.flatMap(({ name, kind, stretches }, lane) => [
      ...stretches.map(({ from, to, words }) => {
        const bar = el("i", { class: `stretch ${kind}`, title: `${name}, ${seconds(from)} to ${seconds(to)}: ${words}` });
        bar.style.left = this.share(from);
        bar.style.width = `calc(${this.share(to)} - ${this.share(from)})`;
        bar.style.top = `${3 + 15 * lane}px`;
        bar.style.height = "13px";
        return bar;
      }),
      lane || some.length > 1 ? at(el("span", { class: "lane" }, name), 3 + 15 * lane) : null,
    ]).filter(Boolean);
    const ticks = moments.map((at) => {
      const tick = el("i", { class: "tick", title: seconds(at) });
      tick.style.left = this.share(at);
      return tick;
    });
    this.line.replaceChildren(...bars, ...ticks, this.cursor);
    this.moved(this.at ?? this.start);
  }
}
