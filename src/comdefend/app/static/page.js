// The controls, and what the server tells of a trial, line by line.
const at = id => document.getElementById(id);
let photograph = null;
let running = false;

function take(file) {
  if (!file) return;
  photograph = file;
  const preview = at("preview");
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.hidden = false;
  // Wherever it came from, the field names it.
  const files = new DataTransfer();
  files.items.add(file);
  at("file").files = files.files;
  at("error").textContent = "";
}
// Some formats are read by the server alone.
at("preview").addEventListener("error", () => { at("preview").hidden = true; });
at("file").addEventListener("change", event => take(event.target.files[0]));
document.addEventListener("paste", event => take(event.clipboardData?.files[0]));
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", async () => {
    const name = button.dataset.example;
    const answer = await fetch(`examples/${name}`);
    take(new File([await answer.blob()], name));
  });
}

const drop = at("drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, event => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}

// The slider moves over the positions of the rates that the purifier has.
const rates = () => at("purifier").selectedOptions[0].dataset.rates.split(" ").map(Number);
function showRate() {
  const known = rates(), rate = known[at("rate").value];
  const text = `${rate} ${rate === 1 ? "bit" : "bits"} per pixel`;
  at("rate-text").textContent = text + (known.length === 1 ? ", its only one" : "");
  at("rate").setAttribute("aria-valuetext", text);
}
function offerRates() {
  const known = rates(), slider = at("rate");
  const distances = known.map(rate => Math.abs(rate - slider.dataset.usual));
  slider.max = Math.max(1, known.length - 1);
  slider.value = distances.indexOf(Math.min(...distances));
  slider.disabled = known.length === 1;
  showRate();
}
function showStrength() {
  at("eps-text").textContent = `${at("eps").value} of 255`;
  at("eps").setAttribute("aria-valuetext", `${at("eps").value} of 255`);
}
at("purifier").addEventListener("change", offerRates);
at("rate").addEventListener("input", showRate);
at("eps").addEventListener("input", showStrength);
offerRates();
showStrength();

function say(text) {
  if (at("doing").textContent !== text) at("doing").textContent = text;
}
function show(told) {
  if (told.error) throw new Error(told.error);
  if (told.waiting !== undefined) {
    say(told.waiting ? `In the queue: ${told.waiting} before you` : "In the queue: you are next");
  }
  if (told.doing) {
    say(told.doing);
    at("progress").value = told.done / told.steps;
  }
  if (told.result) {
    at("verdict").textContent = told.verdict;
    at("outcome").innerHTML = told.result;
    at("outcome").classList.remove("stale");
  }
}

async function tryOut() {
  const asked = new URLSearchParams(new FormData(at("controls")));
  asked.set("bpp", rates()[at("rate").value]);
  const answer = await fetch(`trial?${asked}`, { method: "POST", body: photograph });
  if (!answer.ok) {
    const refused = await answer.json().catch(() => ({}));
    throw new Error(refused.error ?? `The server refuses this (${answer.status})`);
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "", last = {};
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (text + part.value).split("\n");
    text = lines.pop();
    for (const line of lines) show(last = JSON.parse(line));
  }
  if (!last.result) throw new Error("The server gave up; what it prints says why");
}

function complaint() {
  const megabytes = at("file").dataset.megabytes;
  if (!photograph) return "Drop a photograph first, or take one of the examples.";
  if (photograph.size > megabytes * 2 ** 20) return `The photograph is larger than ${megabytes} MB.`;
  return "";
}
function busy(now) {
  running = now;
  at("go").setAttribute("aria-disabled", now);
  at("outcome").setAttribute("aria-busy", now);
  at("progress").hidden = !now;
  at("queue").hidden = now;
}
at("controls").addEventListener("submit", async event => {
  event.preventDefault();
  if (running) return;
  at("error").textContent = complaint();
  if (at("error").textContent) return;
  at("verdict").textContent = "";
  at("outcome").classList.add("stale");
  at("progress").value = 0;
  busy(true);
  say("Sending the photograph");
  try {
    await tryOut();
    say("Done");
  } catch (error) {
    say("");
    const lost = error instanceof TypeError;
    at("error").textContent = lost ? "The server cannot be reached, or did not take the photograph" : error.message;
  }
  busy(false);
});
