"use strict";
// Asks the service that this page comes from, and nobody else. State: the photo, what is served, what is chosen.

const base = new URL(".", document.baseURI);
const $ = (id) => document.getElementById(id);
const STAGES = ["read", "decode", "queue", "batch", "compute"];
const REFUSED = new Set(["OVERLOADED", "RATE_LIMITED", "DEADLINE"]);
const state = { photo: null, name: "", url: "", served: [], chosen: new Set(), round: 0, tab: "curl", shown: "" };

// --- the service -----------------------------------------------------------------------------------------------

class Problem extends Error {}

async function call(path, options = {}) {
  const key = sessionStorage.getItem("key");
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let reply;
  try {
    reply = await fetch(new URL(path, base), { ...options, headers });
  } catch {
    throw new Problem("The service does not answer. It may be restarting: try again in a moment.");
  }
  if (reply.ok) return reply;
  if (reply.status === 401) openKey();
  throw new Problem(await explain(reply));
}

async function explain(reply) {
  let text = "";
  try {
    const { error } = await reply.json();
    text = typeof error === "string" ? error : (error?.message ?? "");
  } catch { /* not this service's: a proxy's page */ }
  const again = reply.headers.get("retry-after");
  const wait = again && !text.includes("again") ? ` Ask again in ${again} s.` : "";
  return `${text ? sentence(text) : `The service answered ${reply.status} ${reply.statusText}.`}${wait}`;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
const at = (model) => `${encodeURIComponent(model.name)}?version=${model.version}`;
const under = (model, what) => `models/${encodeURIComponent(model.name)}/${what}?version=${model.version}`;

// --- what is served --------------------------------------------------------------------------------------------

async function loadModels() {
  let models;
  try {
    ({ models } = await (await call("models")).json());
  } catch (error) {
    fill($("choices"), make("p", { className: "problem", text: error.message }));
    return;
  }
  const all = Object.entries(models).flatMap(([name, versions]) => versions.map((version, i) => ({ name, version, newest: i === 0 })));
  state.served = await Promise.all(all.map(describe));
  if (!state.served.some((model) => state.chosen.has(id(model)))) {
    const first = state.served.find((model) => model.takesImages) ?? state.served[0];
    if (first) state.chosen.add(id(first));
  }
  drawChoices();
  drawServed();
  await drawSamples();
}

const id = (model) => `${model.name}/${model.version}`;

async function describe(model) {
  try {
    const { manifest, versions } = await (await call(`models/${at(model)}`)).json();
    const status = versions.find((one) => one.version === model.version);
    const facts = manifest.facts ?? {};
    return {
      ...model, status, facts, labels: manifest.labels ?? [], size: manifest.preprocessing, takesImages: Boolean(manifest.preprocessing),
      form: [manifest.precision, manifest.engine].filter(Boolean).join(", "),
      input: Object.keys(manifest.signatures?.serving_default?.inputs ?? {})[0] ?? "image_bytes",
    };
  } catch (error) {
    return { ...model, problem: error.message, labels: [], facts: {}, form: "", input: "image_bytes" };
  }
}

function drawChoices() {
  $("filter").hidden = state.served.length < 9;
  const wanted = $("filter").value.trim().toLowerCase();
  const rows = state.served.filter((model) => id(model).toLowerCase().includes(wanted)).map((model) => {
    const box = make("input", { type: "checkbox", checked: state.chosen.has(id(model)), disabled: !model.takesImages });
    box.addEventListener("change", () => {
      state.chosen[box.checked ? "add" : "delete"](id(model));
      drawSamples();
      ask();
    });
    const note = model.takesImages ? `${model.size.width}×${model.size.height}${model.form ? `, ${model.form}` : ""}` : "takes no photos";
    return make("label", {}, box, make("span", { text: model.newest ? model.name : `${model.name} ${model.version}` }), make("span", { className: "soft", text: note }));
  });
  fill($("choices"), ...(rows.length ? rows : [make("p", { className: "soft", text: state.served.length ? "No model has that in its name." : "No model is served yet: python -m export makes one." })]));
}

function drawServed() {
  fill($("rows"), ...state.served.map((model) => {
    const { accuracy, published_accuracy: published } = model.facts;
    const told = accuracy != null ? percent(accuracy) : published ? `${percent(published.top1)}, published` : "not measured";
    const labels = model.labels.length > 12 ? make("details", {}, make("summary", { text: `${model.labels.length} labels` }), model.labels.join(", ")) : model.labels.join(", ") || "–";
    return make("tr", {},
      make("th", { scope: "row", text: model.name }), make("td", { text: String(model.version) }),
      make("td", { text: model.problem ?? (model.status?.state ?? "AVAILABLE").toLowerCase() }),
      make("td", { text: model.size ? `${model.size.width}×${model.size.height} image` : "tensors" }),
      make("td", {}, labels), make("td", { text: told }), make("td", { text: model.form || "–" }), make("td", {}, reportLink(model)));
  }));
}

function reportLink(model) {
  if (sessionStorage.getItem("key") === null) return make("a", { href: new URL(under(model, "report"), base).href, text: "report", ariaLabel: `Report of ${id(model)}` });
  const button = make("button", { type: "button", text: "download", ariaLabel: `Download the report of ${id(model)}` });
  button.addEventListener("click", async () => {
    try {
      const url = URL.createObjectURL(await (await call(under(model, "report"))).blob());
      make("a", { href: url, download: `${model.name}-${model.version}-report.html` }).click();
      URL.revokeObjectURL(url);
    } catch (error) { say(error.message, true); }
  });
  return button;
}

async function drawSamples() {
  const model = chosen()[0];
  if (!model || state.shown === id(model)) return;
  state.shown = id(model);
  let names = [];
  try { names = (await (await call(under(model, "samples"))).json()).samples; } catch { /* without samples */ }
  if (state.shown !== id(model)) return;
  $("samples-box").hidden = names.length === 0;
  $("samples-of").textContent = model.name;
  fill($("samples"), ...await Promise.all(names.slice(0, 24).map(async (name) => {
    const picture = make("img", { alt: "" });
    const button = make("button", { type: "button", title: name, ariaLabel: `Sample ${name}` }, picture);
    try {
      const blob = await (await call(under(model, `samples/${encodeURIComponent(name)}`))).blob();
      picture.src = URL.createObjectURL(blob);
      button.addEventListener("click", () => usePhoto(blob, name));
    } catch { button.disabled = true; }
    return button;
  })));
}

const chosen = () => state.served.filter((model) => state.chosen.has(id(model)) && model.takesImages);

// --- a photo ---------------------------------------------------------------------------------------------------

function usePhoto(blob, name) {
  stopCamera();
  URL.revokeObjectURL(state.url);
  state.photo = blob;
  state.name = name || "photo.jpg";
  state.url = URL.createObjectURL(blob);
  $("photo").src = state.url;
  $("photo").alt = `Your photo ${state.name}`;
  $("photo").hidden = false;
  $("hint").hidden = true;
  $("photo-name").textContent = `${state.name}, ${bytes(blob.size)}`;
  if (matchMedia("(max-width: 899px)").matches) $("answers").scrollIntoView();
  ask();
}

async function startCamera() {
  if (!navigator.mediaDevices) return say("The browser gives its camera to pages of https:// and localhost only.", true);
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    return say(`The camera cannot be used: ${error.message}.`, true);
  }
  await $("video").play();
  $("video").hidden = $("snap").hidden = false;
  $("photo").hidden = $("hint").hidden = true;
}

function stopCamera() {
  $("video").srcObject?.getTracks().forEach((track) => track.stop());
  $("video").srcObject = null;
  $("video").hidden = $("snap").hidden = true;
}

function takePicture() {
  const video = $("video");
  const canvas = make("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => usePhoto(blob, "camera.jpg"), "image/jpeg", 0.92);
}

// --- answers ---------------------------------------------------------------------------------------------------

async function ask() {
  const round = ++state.round;
  const models = chosen();
  drawRequest(models[0]);
  if (!state.photo) return;
  if (models.length === 0) { fill($("cards")); return say("Choose a model."); }
  say(models.length === 1 ? "Asking…" : `Asking ${models.length} models…`);
  const answers = await Promise.all(models.map((model) => predict(model, state.photo)));
  if (round !== state.round) return;
  markSplits(answers);
  fill($("cards"), ...answers.map(drawCard));
  const failed = answers.filter((answer) => answer.problem).length;
  say(failed ? `${failed} of ${answers.length} did not answer.` : summary(answers), failed > 0);
  for (const answer of answers) showSeen(answer, state.photo, round);
}

const kind = (photo) => ({ "Content-Type": photo.type.startsWith("image/") ? photo.type : "application/octet-stream" });

async function predict(model, photo) {
  const began = performance.now();
  try {
    const reply = await call(`predict/${at(model)}&top_k=5`, { method: "POST", body: photo, headers: kind(photo) });
    const answer = await reply.json();
    const stages = Object.fromEntries((reply.headers.get("server-timing") ?? "").split(",").map((part) => {
      const [name, duration] = part.trim().split(";dur=");
      return [name, Number(duration)];
    }));
    return { model, answer, top: answer.predictions?.[0]?.top_k, stages, whole: performance.now() - began };
  } catch (error) {
    return { model, problem: error.message };
  }
}

function markSplits(answers) {
  for (const one of answers) {
    one.against = answers.filter((other) => other !== one && one.top && other.top
      && one.model.labels.join("\n") === other.model.labels.join("\n") && other.top[0].label !== one.top[0].label);
  }
}

function summary(answers) {
  if (answers.length === 1) return answers[0].top ? `${answers[0].top[0].label}, ${percent(answers[0].top[0].probability)}.` : "Answered.";
  const split = answers.filter((answer) => answer.against.length).length;
  return split ? `${split} of ${answers.length} models disagree.` : `${answers.length} models answered; those with the same labels agree.`;
}

function drawCard(answer) {
  const { model, top } = answer;
  const title = make("div", {}, make("h3", { text: `${model.name} ${model.version}` }), make("p", { text: model.form || "form not told" }));
  const head = make("header", {}, title);
  answer.head = head;
  const card = make("article", { className: answer.against.length ? "card split" : "card", ariaLabel: `Answer of ${id(model)}` }, head);
  if (answer.problem) card.append(make("p", { className: "problem", text: answer.problem }));
  else if (top) {
    card.append(make("p", { className: "top", text: top[0].label }), make("ul", { className: "bars" }, ...top.map(drawBar)));
    if (answer.against.length) card.append(make("p", { className: "note", text: `Disagrees with ${answer.against.map((other) => `${id(other.model)} (${other.top[0].label})`).join(", ")}.` }));
  } else card.append(make("pre", { text: JSON.stringify(answer.answer.outputs ?? answer.answer, null, 1).slice(0, 2000), tabIndex: 0 }));
  if (answer.stages) card.append(drawStages(answer));
  return card;
}

function drawBar({ label, probability }) {
  const fillBar = make("i", {});
  fillBar.style.width = `${100 * (probability ?? 0)}%`;
  return make("li", {}, make("span", { className: "name", text: label, title: label }), make("span", { className: "share", text: percent(probability) }), make("span", { className: "track" }, fillBar));
}

function drawStages({ stages, whole }) {
  const present = STAGES.filter((stage) => stages[stage] >= 0);
  const segments = present.map((stage) => {
    const segment = make("i", { className: stage });
    segment.style.flexGrow = String(stages[stage]);
    return segment;
  });
  const bar = make("div", { className: "bar", ariaHidden: "true" }, ...segments);
  const legend = present.map((stage) => make("li", { className: stage, text: `${stage} ${ms(stages[stage])}` }));
  return make("div", { className: "stages" }, bar, make("ul", { ariaLabel: "Milliseconds by stage" }, ...legend,
    make("li", { className: "whole", text: `in the service ${ms(stages.total)}, here ${ms(whole)} ms` })));
}

async function showSeen(answer, photo, round) {
  if (answer.problem) return;
  try {
    const reply = await call(`preprocess/${at(answer.model)}`, { method: "POST", body: photo, headers: kind(photo) });
    const url = URL.createObjectURL(await reply.blob());
    const { width, height } = answer.model.size;
    if (round === state.round) answer.head.append(make("img", { className: "seen", src: url, alt: `What ${id(answer.model)} sees`, title: `What the model sees: ${width}×${height}` }));
  } catch { /* the answer stands without it */ }
}

// --- the same request elsewhere --------------------------------------------------------------------------------

function drawRequest(model) {
  $("request").hidden = !model;
  if (!model) return;
  const file = state.name || "photo.jpg", type = state.photo?.type || "image/jpeg";
  const url = new URL(`predict/${encodeURIComponent(model.name)}`, base).href;
  const key = sessionStorage.getItem("key") !== null;
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const snippets = {
    curl: `curl --data-binary @${quoted(file)} -H 'Content-Type: ${type}'${key ? ` -H "Authorization: Bearer $KEY"` : ""} \\\n  ${quoted(`${url}?version=${model.version}`)}`,
    python: `import httpx\n\nreply = httpx.post(\n    ${JSON.stringify(url)},\n    params={"version": ${model.version}},\n    content=open(${JSON.stringify(file)}, "rb").read(),\n    headers={"Content-Type": "${type}"${key ? `, "Authorization": f"Bearer {key}"` : ""}},\n)\nprint(reply.json()["predictions"][0]["label"])`,
    grpc: `import numpy as np\nimport tritonclient.grpc as grpc\n\nclient = grpc.InferenceServerClient("${base.hostname}:8500")  # the service's --grpc-port\nimage = grpc.InferInput("${model.input}", [1], "BYTES")\nimage.set_data_from_numpy(np.array([open(${JSON.stringify(file)}, "rb").read()], dtype=object))\nreply = client.infer(${JSON.stringify(model.name)}, [image], model_version="${model.version}"${key ? `, headers={"authorization": f"Bearer {key}"}` : ""})\nprint(reply.as_numpy("probabilities").argmax())`,
  };
  $("code").textContent = snippets[state.tab];
}

function chooseTab(name) {
  state.tab = name;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const on = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
  }
  $("code").setAttribute("aria-labelledby", `tab-${name}`);
  drawRequest(chosen()[0]);
}

// --- the service now -------------------------------------------------------------------------------------------

let before = null;

async function watch() {
  if (document.hidden) return;
  let text;
  try { text = await (await fetch(new URL("metrics", base))).text(); } catch { text = ""; }
  const now = readMetrics(text);
  if (before && now && now.when > before.when) {
    const seconds = (now.when - before.when) / 1000;
    const grown = now.buckets.map(([bound, count], i) => [bound, count - (before.buckets[i]?.[1] ?? 0)]);
    $("rate").textContent = short((now.requests - before.requests) / seconds);
    $("refused").textContent = short((now.refused - before.refused) / seconds);
    $("queue").textContent = short(now.queue);
    $("p50").textContent = quantile(grown, 0.5);
    $("p99").textContent = quantile(grown, 0.99);
  }
  before = now;
}

function readMetrics(text) {
  if (!text.includes("model_server_ready")) return null;
  const found = { when: performance.now(), requests: 0, refused: 0, queue: 0 };
  const buckets = new Map();
  for (const line of text.split("\n")) {
    const [, name, labels = "", value] = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
    if (name === "model_server_requests_total") {
      found.requests += Number(value);
      if (REFUSED.has(/code="(\w+)"/.exec(labels)?.[1])) found.refused += Number(value);
    } else if (name === "model_server_queue_rows") found.queue += Number(value);
    else if (name === "model_server_stage_seconds_bucket" && labels.includes('stage="total"')) {
      const bound = /le="([^"]+)"/.exec(labels)[1];
      buckets.set(bound, (buckets.get(bound) ?? 0) + Number(value));
    }
  }
  found.buckets = [...buckets].map(([bound, count]) => [bound === "+Inf" ? Infinity : Number(bound), count]).sort((a, b) => a[0] - b[0]);
  return found;
}

function quantile(buckets, share) {
  const all = buckets.at(-1)?.[1] ?? 0;
  if (all <= 0) return "–";
  let low = 0, below = 0;
  for (const [bound, count] of buckets) {
    if (count >= share * all) return bound === Infinity ? `>${ms(1000 * low)}` : ms(1000 * (low + (bound - low) * (share * all - below) / Math.max(1, count - below)));
    [low, below] = [bound, count];
  }
  return "–";
}

// --- small things ----------------------------------------------------------------------------------------------

function make(tag, { text, ariaLabel, ariaHidden, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  if (text !== undefined) element.textContent = text;
  if (ariaLabel) element.setAttribute("aria-label", ariaLabel);
  if (ariaHidden) element.setAttribute("aria-hidden", ariaHidden);
  element.append(...children);
  return element;
}

const fill = (element, ...children) => element.replaceChildren(...children);
const percent = (share) => (share == null ? "–" : `${(100 * share).toFixed(share > 0.9995 || share < 0.0005 ? 2 : 1)} %`);
const ms = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : (value ?? 0).toFixed(2));
const short = (value) => (value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(1));
const bytes = (size) => (size < 1e6 ? `${(size / 1e3).toFixed(0)} kB` : `${(size / 1e6).toFixed(1)} MB`);

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").className = bad ? "problem" : "soft";
}

function openKey() {
  if (!$("key").open) $("key").showModal();
}

$("file").addEventListener("change", () => $("file").files[0] && usePhoto($("file").files[0], $("file").files[0].name));
$("camera").addEventListener("click", startCamera);
$("snap").addEventListener("click", takePicture);
$("filter").addEventListener("input", drawChoices);
$("key-open").addEventListener("click", openKey);
$("key").addEventListener("close", () => {
  const action = $("key").returnValue, key = $("key-text").value.trim();
  $("key-text").value = "";
  if (action === "use" && key) sessionStorage.setItem("key", key);
  else if (action === "forget") sessionStorage.removeItem("key");
  else return;
  state.shown = "";
  loadModels().then(ask);
});
document.querySelector(".tabs").addEventListener("click", ({ target }) => target.role === "tab" && chooseTab(target.id.slice(4)));
document.querySelector(".tabs").addEventListener("keydown", (event) => {
  const tabs = [...document.querySelectorAll("[role=tab]")], here = tabs.indexOf(event.target);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (here < 0 || !step) return;
  const next = tabs[(here + step + tabs.length) % tabs.length];
  next.focus();
  chooseTab(next.id.slice(4));
});
$("copy").addEventListener("click", async () => {
  try { await navigator.clipboard.writeText($("code").textContent); $("copy").textContent = "Copied"; } catch { $("copy").textContent = "Select and copy by hand"; }
  setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
});
document.addEventListener("paste", ({ clipboardData }) => {
  const file = [...clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) usePhoto(file, file.name);
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("well").classList.toggle("over", name === "dragover");
    const file = name === "drop" ? event.dataTransfer.files[0] : null;
    if (file) usePhoto(file, file.name);
  });
}

loadModels();
watch();
setInterval(watch, 2000);
