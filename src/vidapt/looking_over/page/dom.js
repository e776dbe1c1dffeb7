// Elements made from text alone: nothing that a label holds is ever read as markup.

const STEERS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

// What would steer how a text is read, or cannot be seen, as an escape.
export const shown = (text) => text.replace(STEERS, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

export function el(tag, traits = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(traits)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined && child !== false) put(made, child);
  return made;
}

function put(into, child) {
  into.append(child instanceof Node ? child : shown(String(child)));
}

export const by = (id) => document.getElementById(id);

export const seconds = (s) => (s < 60 ? `${s.toFixed(2)} s` : `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`);

// What differs between two texts, by words: what stands before, in between and behind in both.
export function differing(before, after) {
  const [a, b] = [before, after].map((text) => text.split(/(\s+)/));
  let head = 0;
  while (head < Math.min(a.length, b.length) && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < Math.min(a.length, b.length) - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const cut = (words) => [words.slice(0, head), words.slice(head, words.length - tail), words.slice(words.length - tail)];
  return [cut(a), cut(b)].map((parts) => parts.map((words) => words.join("")));
}
