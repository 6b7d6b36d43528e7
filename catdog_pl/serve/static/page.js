"use strict";
// The page asks the same API as everybody else. It keeps the last few answers, until it is closed.

const KEPT = 6;
const CERTAINTY = [[0.99, "almost certainly"], [0.9, "very probably"], [0.7, "probably"], [0, "perhaps, it is hard to tell"]];

const find = (selector, inside = document) => inside.querySelector(selector);
let model = { class_names: ["cat", "dog"], max_bytes: Infinity, urls: true };
let token = "";
let whenToken = null;

async function ask(path, given) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let options = { headers };
  if (given instanceof Blob) {
    const body = new FormData();
    body.append("file", given, given.name || "pasted picture");
    options = { method: "POST", headers, body };
  } else if (given) {
    headers["Content-Type"] = "application/json";
    options = { method: "POST", headers, body: JSON.stringify({ url: given }) };
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("the server cannot be reached");
  }
  if (response.status === 401) {
    find("#by-token").hidden = false;
    find("#token").focus();
    await new Promise((resolve) => { whenToken = resolve; });
    return ask(path, given);
  }
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: `the server answered ${response.status}` }));
    throw new Error(problem.detail);
  }
  return response;
}

async function look(given) {
  const card = find("#answer").content.cloneNode(true).firstElementChild;
  const image = find("img", card);
  const isFile = given instanceof Blob;
  const name = isFile ? given.name || "pasted picture" : given;
  const address = isFile ? URL.createObjectURL(given) : given;
  image.addEventListener("error", () => { image.hidden = true; });
  if (isFile) image.src = address;
  find("h2", card).textContent = "…";
  find(".name", card).textContent = name;
  find(".scale", card).hidden = true;
  find("#answers").prepend(card);
  for (const old of [...find("#answers").children].slice(KEPT)) forget(old);
  say("Looking …");
  try {
    if (isFile && given.size > model.max_bytes) {
      throw new Error(`${name}: ${given.size.toLocaleString()} bytes are more than ${model.max_bytes.toLocaleString()}, the limit`);
    }
    const { predictions: [answer] } = await (await ask("v1/predict", given)).json();
    image.src = address;  // a URL's picture is loaded once the server has called it one
    show(card, answer);
    offerExplanation(card, given, answer, address);
  } catch (error) {
    say("");
    card.classList.add("wrong");
    card.setAttribute("role", "alert");
    find("h2", card).textContent = "No answer";
    find(".certainty", card).textContent = error.message;
  }
}

function show(card, { label, probability }) {
  const certainty = Math.max(probability, 1 - probability);
  const words = CERTAINTY.find(([least]) => certainty >= least)[1];
  // Rounded down, so that no answer is called 100 % certain.
  const percent = (Math.floor(certainty * 1000) / 10).toFixed(1);
  find("h2", card).textContent = label;
  find(".certainty", card).textContent = `${words} (${percent} %)`;
  find(".scale", card).hidden = false;
  find(".first", card).textContent = model.class_names[0];
  find(".second", card).textContent = model.class_names[1];
  find(".bar i", card).style.left = `${100 * probability}%`;
  find("img", card).alt = `picture, answered ${label}`;
  say(`${label}, ${words}, ${percent} percent`);
}

function offerExplanation(card, given, { label }, address) {
  const button = find(".explain", card);
  const image = find("img", card);
  let explained = null;
  button.hidden = !model.explains;
  button.addEventListener("click", async () => {
    const isOn = button.getAttribute("aria-pressed") === "true";
    button.disabled = true;
    try {
      explained ??= URL.createObjectURL(await (await ask("v1/explain", given)).blob());
      card.dataset.explained = explained;
      image.hidden = false;
      image.src = isOn ? address : explained;
      image.alt = isOn ? `picture, answered ${label}` : `the same picture, bright where the network saw ${label}`;
      button.setAttribute("aria-pressed", String(!isOn));
      button.textContent = isOn ? "Where did it look?" : "Show the picture";
      say(isOn ? "" : `Bright is where the network saw ${label}`);
    } catch (error) {
      say(error.message);
    }
    button.disabled = false;
    button.focus();
  });
}

function forget(card) {
  for (const url of [find("img", card).src, card.dataset.explained]) {
    if (url?.startsWith("blob:")) URL.revokeObjectURL(url);
  }
  card.remove();
}

function say(words) {
  find("#status").textContent = words;
}

async function lookAtAll(files) {
  for (const file of [...files].slice(-KEPT)) await look(file);
}

find("#phone").hidden = !navigator.maxTouchPoints;
for (const input of [find("#choose"), find("#photograph")]) {
  input.addEventListener("change", async () => {
    const files = [...input.files];
    input.value = "";  // so that the same picture can be chosen again
    await lookAtAll(files);
  });
}
find("#by-url").addEventListener("submit", (event) => {
  event.preventDefault();
  look(find("#url").value.trim());
});
find("#by-token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("#token").value;
  find("#by-token").hidden = true;
  whenToken?.();
});
document.addEventListener("paste", (event) => {
  const { files } = event.clipboardData;
  const text = event.clipboardData.getData("text/plain").trim();
  if (files.length) lookAtAll(files);
  else if (!(event.target instanceof HTMLInputElement) && /^https?:\/\//.test(text)) look(text);
  else return;
  event.preventDefault();
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", kind === "dragover");
  });
}
document.addEventListener("drop", (event) => {
  const url = event.dataTransfer.getData("text/uri-list").split("\n")[0].trim();
  if (event.dataTransfer.files.length) lookAtAll(event.dataTransfer.files);
  else if (url) look(url);
});

(async () => {
  model = await (await ask("v1/model")).json();
  const [first, second] = model.class_names;
  document.title = `${first[0].toUpperCase()}${first.slice(1)} or ${second}?`;
  find("h1").textContent = document.title;
  find("#model").textContent = `Model: ${model.model ?? model.file}.`;
  find("#by-url").hidden = !model.urls;
})().catch((error) => say(error.message));
