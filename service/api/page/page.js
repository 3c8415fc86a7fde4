"use strict";
// Asks the service that this page comes from, and nobody else. State: the photo, what is served, what is chosen.

const base = new URL(".", document.baseURI);
const $ = (id) => document.getElementById(id);
const STAGES = ["read", "decode", "queue", "batch", "compute"];
const REFUSED = new Set(["OVERLOADED", "RATE_LIMITED", "DEADLINE"]);
const WATCHED = ["rate", "p50", "p99", "queue", "refused"];
const state = { photo: null, name: "", url: "", served: [], chosen: new Set(), cards: new Map(), asked: "", round: 0, tab: "curl", shown: "" };

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
    const again = make("button", { type: "button", text: "Try again" });
    again.addEventListener("click", loadModels);
    fill($("choices"), make("p", { className: "problem", text: error.message }), make("p", { className: "row" }, again));
    return;
  }
  const all = Object.entries(models).flatMap(([name, versions]) => versions.map((version) => ({ name, version, several: versions.length > 1 })));
  state.served = await Promise.all(all.map(describe));
  if (chosen().length === 0) {
    const first = state.served.find((model) => model.takes);
    if (first) state.chosen.add(id(first));
    else if (all.length) say("No model here takes photos. The API page has the requests for numbers.");
  }
  drawChoices();
  drawServed();
  drawRequest();
  await drawSamples();
}

const id = (model) => `${model.name}/${model.version}`;
const chosen = () => state.served.filter((model) => model.takes && state.chosen.has(id(model)));

async function describe(model) {
  try {
    const [{ manifest, versions }, { samples, report }] = await Promise.all([`models/${at(model)}`, under(model, "files")].map(async (path) => (await call(path)).json()));
    const { inputs = {}, outputs = {} } = manifest.signatures.serving_default ?? {};
    const [[input, spec] = ["", {}], ...others] = Object.entries(inputs);
    const ran = manifest.profile ?? {};
    return {
      ...model, samples, report, input, outputs, takes: others.length ? "" : findKind(spec), size: manifest.preprocessing,
      status: versions.find((one) => one.version === model.version), facts: manifest.facts ?? {}, labels: manifest.labels ?? [],
      form: [ran.precision || manifest.precision, ran.engine].filter(Boolean).join(", "),
    };
  } catch (error) {
    return { ...model, problem: error.message, samples: [], outputs: {}, facts: {}, labels: [], form: "" };
  }
}

// How a model takes a photo: "file" for an encoded one, "pixels" for a graph of RGB, "" where it takes none.
function findKind({ dtype, shape }) {
  if (dtype === "string" && shape?.length === 1) return "file";
  return dtype === "uint8" && shape?.length === 4 && [3, null].includes(shape[3]) ? "pixels" : "";
}

const matches = (model) => id(model).toLowerCase().includes($("filter").value.trim().toLowerCase());

function drawChoices() {
  $("narrow").hidden = state.served.length < 9;
  const rows = state.served.filter(matches).map((model) => {
    const box = make("input", { type: "checkbox", checked: state.chosen.has(id(model)), disabled: !model.takes });
    box.addEventListener("change", () => choose([model], box.checked));
    const size = model.size ? `${model.size.width}×${model.size.height}` : "";
    const note = model.takes ? [size, model.form].filter(Boolean).join(", ") : "takes no photos";
    return make("label", {}, box, make("span", { text: model.several ? `${model.name} ${model.version}` : model.name }), make("span", { className: "soft", text: note }));
  });
  fill($("choices"), ...(rows.length ? rows : [make("p", { className: "soft", text: state.served.length ? "No model has that in its name." : "No model is served yet: python -m export makes one." })]));
}

function choose(models, on) {
  for (const model of models) state.chosen[on ? "add" : "delete"](id(model));
  drawSamples();
  ask();
}

function chooseShown() {
  const shown = state.served.filter((model) => model.takes && matches(model));
  choose(shown, !shown.every((model) => state.chosen.has(id(model))));
  drawChoices();
}

function drawServed() {
  fill($("rows"), ...state.served.map((model) => {
    const { accuracy, published_accuracy: published } = model.facts;
    const told = accuracy != null ? percent(accuracy) : published ? `${percent(published.top1)}, published` : "not measured";
    const list = model.labels.join(", ");
    const labels = list.length > 90 ? make("details", {}, make("summary", { text: `${model.labels.length} labels` }), list) : list || "–";
    return make("tr", {},
      make("th", { scope: "row", text: model.name }), make("td", { text: String(model.version) }),
      make("td", { text: model.problem ?? (model.status?.state ?? "AVAILABLE").toLowerCase() }),
      make("td", { text: model.size ? `${model.size.width}×${model.size.height} image` : { file: "image", pixels: "pixels" }[model.takes] ?? "tensors" }),
      make("td", {}, labels), make("td", { text: told }), make("td", { text: model.form || "–" }), make("td", {}, reportLink(model)));
  }));
}

function reportLink(model) {
  if (!model.report) return "–";
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
  $("samples-box").hidden = model.samples.length === 0;
  $("samples-of").textContent = model.name;
  const pictures = await Promise.all(model.samples.slice(0, 24).map(async (name) => {
    const picture = make("img", { alt: "" });
    const button = make("button", { type: "button", title: name, ariaLabel: `Sample ${name}` }, picture);
    try {
      const blob = await (await call(under(model, `samples/${encodeURIComponent(name)}`))).blob();
      show(picture, blob);
      button.addEventListener("click", () => usePhoto(blob, name));
    } catch { button.disabled = true; }
    return button;
  }));
  if (state.shown === id(model)) fill($("samples"), ...pictures);
}

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
  $("again").hidden = false;
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

const question = () => [state.url, ...chosen().map(id)].join();

async function ask() {
  const round = ++state.round, photo = state.photo, models = chosen();
  state.asked = question();
  drawRequest();
  if (!photo) return;
  if (models.length === 0) {
    fill($("cards"));
    return say("Choose a model.");
  }
  say(models.length === 1 ? "Asking…" : `Asking ${models.length} models…`);
  // A model's last answer stays, dimmed, until its next one: nothing on the page jumps.
  state.cards = new Map(models.map((model) => [id(model), state.cards.get(id(model)) ?? drawWaiting(model)]));
  for (const card of state.cards.values()) card.classList.add("old");
  fill($("cards"), ...state.cards.values());
  const answers = await Promise.all(models.map(async (model) => {
    const answer = await predict(model, photo);
    if (round !== state.round) return answer;
    answer.card = drawCard(answer);
    state.cards.get(id(model)).replaceWith(answer.card);
    state.cards.set(id(model), answer.card);
    return answer;
  }));
  if (round !== state.round) return;
  markSplits(answers);
  const failed = answers.filter((answer) => answer.problem).length;
  say(failed ? `${failed} of ${answers.length} did not answer.` : summary(answers), failed > 0);
}

const kind = (photo) => ({ "Content-Type": photo.type.startsWith("image/") ? photo.type : "application/octet-stream" });

async function predict(model, photo) {
  const began = performance.now();
  try {
    const reply = await call(`predict/${at(model)}&top_k=5${model.size ? "&seen=true" : ""}`, { method: "POST", body: photo, headers: kind(photo) });
    const answer = await reply.json();
    const stages = Object.fromEntries((reply.headers.get("server-timing") ?? "").split(",").map((part) => {
      const [name, duration] = part.trim().split(";dur=");
      return [name, Number(duration)];
    }));
    const [first] = answer.predictions ?? [];
    return { model, answer, top: first?.top_k, found: first?.detections, stages, whole: performance.now() - began };
  } catch (error) {
    return { model, problem: error.message };
  }
}

function markSplits(answers) {
  for (const one of answers) {
    one.against = answers.filter((other) => other !== one && one.top && other.top
      && one.model.labels.join("\n") === other.model.labels.join("\n") && other.top[0].label !== one.top[0].label);
    if (one.against.length === 0) continue;
    one.card.classList.add("split");
    const others = one.against.map((other) => `${id(other.model)} (${other.top[0].label})`).join(", ");
    one.card.querySelector(".bars").after(make("p", { className: "note", text: `Disagrees with ${others}.` }));
  }
}

function summary(answers) {
  const [{ top, found }] = answers;
  if (answers.length === 1) return top ? `${top[0].label}, ${percent(top[0].probability)}.` : found ? `${found.length} found.` : "Answered.";
  const split = answers.filter((answer) => answer.against.length).length;
  return split ? `${split} of ${answers.length} models disagree.` : `${answers.length} models answered; those with the same labels agree.`;
}

function drawHead(model, seen) {
  const head = make("header", {}, make("div", {}, make("h3", { text: `${model.name} ${model.version}` }), make("p", { text: model.form })));
  if (seen) head.append(make("img", { className: "seen", src: `data:image/png;base64,${seen}`, alt: `What ${id(model)} sees`, title: `What the model sees: ${model.size.width}×${model.size.height}` }));
  return head;
}

const drawWaiting = (model) => make("article", { className: "card", ariaLabel: `Answer of ${id(model)}` }, drawHead(model), make("p", { className: "soft", text: "Asking…" }));

function drawCard(answer) {
  const { model, top, found, problem } = answer;
  const card = make("article", { className: "card", ariaLabel: `Answer of ${id(model)}` }, drawHead(model, answer.answer?.seen));
  if (problem) card.append(make("p", { className: "problem", text: problem }));
  else if (top) card.append(make("p", { className: "top", text: top[0].label, title: top[0].label }), make("ul", { className: "bars" }, ...top.map(drawBar)));
  else if (found) card.append(drawBoxes(found), make("ul", { className: "bars" }, ...found.slice(0, 8).map(({ label, score }) => drawBar({ label, probability: score }))));
  else card.append(make("pre", { text: JSON.stringify(answer.answer.outputs ?? answer.answer, null, 1).slice(0, 2000), tabIndex: 0 }));
  if (answer.stages) card.append(drawStages(answer));
  return card;
}

// A detector's boxes over the photo, which a browser turns upright as the service does.
function drawBoxes(found) {
  const boxes = found.map(({ label, normalized_box: box }) => {
    const frame = make("i", {}, make("b", { text: label }));
    for (const edge of ["left", "top"]) frame.style[edge] = `${100 * box[edge]}%`;
    frame.style.width = `${100 * (box.right - box.left)}%`;
    frame.style.height = `${100 * (box.bottom - box.top)}%`;
    return frame;
  });
  const picture = make("img", { alt: found.length ? "The photo with a box around each thing that was found" : "The photo: nothing was found" });
  show(picture, state.photo);
  return make("div", { className: "boxes" }, picture, ...boxes);
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

// --- the same request elsewhere --------------------------------------------------------------------------------

function drawRequest() {
  const [model] = chosen();
  $("request").hidden = !model;
  if (model) $("code").textContent = WRITERS[state.tab](model, state.name || "photo.jpg", sessionStorage.getItem("key") !== null);
}

const urlTo = (model) => new URL(`predict/${encodeURIComponent(model.name)}`, base).href;
const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const literal = JSON.stringify;  // of Python, too
const mediaType = () => kind(state.photo ?? { type: "image/jpeg" })["Content-Type"];

const WRITERS = {
  curl: (model, file, key) => `curl --data-binary @${quote(file)} -H 'Content-Type: ${mediaType()}' \\\n${key ? `  -H "Authorization: Bearer $KEY" \\\n` : ""}  ${quote(`${urlTo(model)}?version=${model.version}`)}`,

  python: (model, file, key) => `# pip install httpx
${key ? "import os\n\n" : ""}import httpx

reply = httpx.post(
    ${literal(urlTo(model))},
    params={"version": ${model.version}},
    content=open(${literal(file)}, "rb").read(),
    headers={"Content-Type": ${literal(mediaType())}${key ? `, "Authorization": "Bearer " + os.environ["KEY"]` : ""}},
)
reply.raise_for_status()
print(reply.json()${model.outputs.probabilities ? `["predictions"][0]["label"]` : ""})`,

  grpc(model, file, key) {
    const { grpcPort, grpcTls } = document.documentElement.dataset;
    const isFile = model.takes === "file", { probabilities, classes } = model.outputs;
    const [photo, input] = isFile
      ? [`np.array([open(${literal(file)}, "rb").read()], dtype=object)`, `[1], "BYTES"`]
      : [`np.asarray(Image.open(${literal(file)}).convert("RGB"))[np.newaxis]`, `photo.shape, "UINT8"`];
    return `# pip install ${isFile ? "" : "pillow "}'tritonclient[grpc]'
${key ? "import os\n\n" : ""}import numpy as np
import tritonclient.grpc as grpc
${isFile ? "" : "from PIL import Image\n"}
client = grpc.InferenceServerClient(${literal(`${base.hostname}:${grpcPort}`)}${grpcTls === "true" ? ", ssl=True" : ""})
photo = ${photo}
image = grpc.InferInput(${literal(model.input)}, ${input})
image.set_data_from_numpy(photo)
reply = client.infer(${literal(model.name)}, [image], model_version="${model.version}"${key ? `, headers={"authorization": "Bearer " + os.environ["KEY"]}` : ""})
${probabilities && classes ? `best = reply.as_numpy("probabilities")[0].argmax()\nprint(reply.as_numpy("classes")[0][best].decode())` : "print(reply.get_response())"}`;
  },
};

function chooseTab(name) {
  state.tab = name;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const on = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
  }
  $("code").setAttribute("aria-labelledby", `tab-${name}`);
  drawRequest();
}

// --- the service now -------------------------------------------------------------------------------------------

let before = null;

async function watch() {
  while (true) {
    if (!document.hidden) await look();
    await new Promise((resume) => { setTimeout(resume, 2000); });  // after the answer: a busy service is not asked twice at a time
  }
}

async function look() {
  const key = sessionStorage.getItem("key");
  let now = null;
  try {
    const reply = await fetch(new URL("metrics", base), key ? { headers: { Authorization: `Bearer ${key}` } } : {});
    now = readMetrics(await reply.text());
  } catch { /* gone: nothing is shown */ }
  if (!now || !before || now.requests < before.requests) for (const name of WATCHED) $(name).textContent = "–";
  else {
    const seconds = (now.when - before.when) / 1000;
    const grown = now.buckets.map(([bound, count], i) => [bound, count - (before.buckets[i]?.[1] ?? 0)]);
    $("rate").textContent = short((now.requests - before.requests) / seconds);
    $("refused").textContent = short(Math.max(0, now.refused - before.refused) / seconds);
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

function show(picture, blob) {
  const url = URL.createObjectURL(blob);
  picture.onload = picture.onerror = () => URL.revokeObjectURL(url);
  picture.src = url;
}

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
const bytes = (size) => (size < 1e3 ? `${size} bytes` : size < 1e6 ? `${(size / 1e3).toFixed(0)} kB` : `${(size / 1e6).toFixed(1)} MB`);

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
$("all").addEventListener("click", chooseShown);
$("again").addEventListener("click", () => (state.served.length ? ask() : loadModels().then(ask)));
$("key-open").addEventListener("click", openKey);
$("key").addEventListener("close", () => {
  const action = $("key").returnValue, key = $("key-text").value.trim();
  $("key-text").value = "";
  if (action === "use" && key) sessionStorage.setItem("key", key);
  else if (action === "forget") sessionStorage.removeItem("key");
  else return;
  state.shown = state.asked = "";
  loadModels().then(() => state.asked === question() || ask());
});
document.querySelector("[role=tablist]").addEventListener("click", ({ target }) => target.role === "tab" && chooseTab(target.id.slice(4)));
document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
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
