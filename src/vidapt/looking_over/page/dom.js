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

// What differs between two texts, word by word: of each, its pieces in order, [text, whether the other has it not].
export function differing(before, after) {
  const [a, b] = [before, after].map((text) => text.split(/(?<=\s)(?=\S)/));
  const [keys, others] = [a, b].map((words) => words.map((word) => word.trim()));
  let head = 0, tail = 0;
  while (head < Math.min(a.length, b.length) && keys[head] === others[head]) head++;
  while (tail < Math.min(a.length, b.length) - head && keys[a.length - 1 - tail] === others[b.length - 1 - tail]) tail++;
  const [inA, inB] = common(keys.slice(head, a.length - tail), others.slice(head, b.length - tail));
  return [pieces(a, head, tail, inA), pieces(b, head, tail, inB)];
}

const MOST_CELLS = 1_000_000; // of the table; what is longer counts as different from the first word to the last that differ

// Which words of both belong to a longest common subsequence.
function common(a, b) {
  const inA = new Array(a.length).fill(false), inB = new Array(b.length).fill(false), wide = b.length + 1;
  if (a.length * b.length > MOST_CELLS) return [inA, inB];
  const table = new Uint16Array((a.length + 1) * wide);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      table[i * wide + j] = a[i] === b[j] ? table[(i + 1) * wide + j + 1] + 1 : Math.max(table[(i + 1) * wide + j], table[i * wide + j + 1]);
    }
  }
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) { inA[i++] = true; inB[j++] = true; }
    else if (table[(i + 1) * wide + j] >= table[i * wide + j + 1]) i++;
    else j++;
  }
  return [inA, inB];
}

function pieces(words, head, tail, shared) {
  const found = [];
  words.forEach((word, at) => {
    const other = at >= head && at < words.length - tail && !shared[at - head];
    if (found.length && found.at(-1)[1] === other) found.at(-1)[0] += word;
    else found.push([word, other]);
  });
  return found;
}

export const marked = (parts, kind) => parts.flatMap(([text, other]) => {
  const words = text.trimEnd();
  return other ? [el("mark", { class: kind }, words), text.slice(words.length)] : [text];
});
