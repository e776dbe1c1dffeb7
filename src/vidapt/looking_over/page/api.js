// What the server is asked. All addresses are relative: the first part of the path is the token.

async function ask(path, options) {
  const answer = await fetch(path, options).catch(() => {
    throw new Error("The server does not answer. Is vidapt still running?");
  });
  if (answer.ok) return answer;
  const text = await answer.text();
  let told = text;
  try {
    const { detail } = JSON.parse(text);
    told = Array.isArray(detail) ? detail[0].msg : detail;
  } catch { /* plain text */ }
  throw Object.assign(new Error(told), { status: answer.status });
}

const read = async (path) => (await ask(path)).json();

export const start = () => read("api/start");
export const row = (number) => read(`api/rows/${number}`);
export const clip = (number) => read(`api/clips/${number}`);
export const news = (after) => read(`api/news?after=${after}`);
export const seen = (number, column) => read(`api/clips/${number}/seen?column=${column}`);
export const footage = (number) => `clips/${number}`;

export const frame = (number, at = null, large = false) =>
  `frames/${number}?${new URLSearchParams({ ...(at === null ? {} : { at: at.toFixed(3) }), large })}`;

export const rows = (numbers) => read(`api/rows?${new URLSearchParams(Array.from(numbers, (n) => ["row", n]))}`);

// Numbers of all rows that filters leave: they stay as they are while decisions are made.
export async function find(filters) {
  const answer = await ask(`api/find?${new URLSearchParams(filters)}`);
  return new Uint32Array(await answer.arrayBuffer());
}

async function send(path, body) {
  const headers = { "content-type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

export const decide = (wish) => send("api/decide", wish);
export const answer = (row, blind) => send("api/ask", { row, blind });
export const freeze = (name) => send("api/freeze", { name });
