// Clips go to the server as they are, and what is dropped is shown from this browser's own memory.

const find = (what) => document.querySelector(what);

/** Tell Gradio what somebody typed, or would have. */
function tell(box, text) {
  const field = find(`#${box} textarea, #${box} input`);
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function say(text, bad = false) {
  const line = find("#sent");
  line.textContent = text;
  line.classList.toggle("fault", bad);
}

function preview(file) {
  const film = find("#preview"), still = find("#still");
  for (const one of [film, still]) {
    if (one.src) URL.revokeObjectURL(one.src);
    one.removeAttribute("src");
    one.hidden = true;
  }
  const shown = file.type.startsWith("image/") ? still : film;
  // Frames come as the model sees them, which may be squashed; the page gives them the clip's own shape.
  document.documentElement.style.removeProperty("--shape");
  const shape = (width, height) => {
    if (width && height) document.documentElement.style.setProperty("--shape", `${width} / ${height}`);
    shown.hidden = false;
  };
  film.onloadedmetadata = () => shape(film.videoWidth, film.videoHeight);
  still.onload = () => shape(still.naturalWidth, still.naturalHeight);
  shown.src = URL.createObjectURL(file);
}

/** Why the server did not do something, in words. */
async function reason(reply) {
  if (reply.status === 401) return "Your time here is up: open this page anew.";
  const told = await reply.clone().json().catch(() => null);
  const wait = reply.headers.get("retry-after");
  return `${told?.error?.message ?? "the server is at fault"}${wait ? `: try again in ${wait} s` : ""}`;
}

// Gradio says `Error` of what was refused, and nothing more.
const plain_fetch = window.fetch;
window.fetch = async (...asked) => {
  const reply = await plain_fetch(...asked);
  if (String(asked[0]?.url ?? asked[0]).includes("/gradio_api/queue/join")) {
    const line = find("#refused");
    line.hidden = reply.ok;
    line.textContent = reply.ok ? "" : await reason(reply);
  }
  return reply;
};

async function send(file) {
  if (file.size > Number(find("#file").dataset.most)) {
    say(`That is more than the ${Math.floor(find("#file").dataset.most / 2 ** 20)} MiB that this server takes.`, true);
    return;
  }
  preview(file);
  say(`Sending ${file.name} …`);
  try {
    const reply = await fetch("clip", { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } });
    if (!reply.ok) {
      say(await reason(reply), true);
      return;
    }
    const told = await reply.json();
    say(file.name);
    const suffix = /\.[a-z0-9]{1,5}$/i.exec(file.name);
    tell("clip", `${told.id} ${suffix ? suffix[0].toLowerCase() : ""}`);
  } catch {
    say("The server cannot be reached.", true);
  }
}

document.addEventListener("change", (event) => {
  if (event.target.id === "file" && event.target.files.length) send(event.target.files[0]);
});

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault(); // or the browser would leave the page for the file
    find(".drop")?.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
}

/** Put the keyboard into a field as soon as it is there. */
function enter(what, tries = 50) {
  const field = find(what);
  if (field) field.focus();
  else if (tries) setTimeout(() => enter(what, tries - 1), 100);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-flag]");
  if (!button) return;
  tell("picked", `${button.dataset.flag} ${Date.now()}`); // a text that did not change is not told again
  enter("#right textarea, #right input");
});

// The end of a conversation is what is looked at while it is written.
new MutationObserver(() => {
  for (const log of document.querySelectorAll(".log[aria-busy=true]")) log.scrollTop = log.scrollHeight;
}).observe(document.documentElement, { childList: true, subtree: true, characterData: true });
