// The page: what the user does, and what follows from it.

import { fetchModel, segment } from "./api.js";
import { byId, percent } from "./dom.js";
import { save, sharesCsv, sharesJson, stem } from "./download.js";
import { limitsOf, showFacts } from "./facts.js";
import { listen } from "./intake.js";
import { Legend } from "./legend.js";
import { openPicture } from "./picture.js";
import { Probe } from "./probe.js";
import { moveTip } from "./tip.js";
import { View, colorTable, readColors } from "./view.js";

const view = new View(byId("canvas"));
const probe = new Probe(byId("canvas"), showPixel);
const legend = new Legend(byId("legend"), byId("absent"), (index) => paint(index));

let model = null; // what GET /model told
let heat = []; // colours of the uncertainty, from certain to unsure
let result = null; // what is shown: the service's answer and the picture's name
let only = null; // the class that is shown alone
let work = null; // AbortController of what is under way
let again = () => {};

listen(open, showError);
byId("cancel").addEventListener("click", () => work?.abort());
byId("again").addEventListener("click", () => again());
byId("opacity").addEventListener("input", draw);
for (const radio of document.getElementsByName("layer")) radio.addEventListener("change", () => paint(only));
for (const button of document.querySelectorAll("[data-save]")) {
  button.addEventListener("click", () => saveAs(button.dataset.save));
}
start();

async function start() {
  again = start;
  try {
    [model, heat] = await Promise.all([fetchModel(), readColors("static/heat.png")]);
  } catch (error) {
    showError(error.message, true);
    return;
  }
  hideError();
  showFacts(byId("facts"), model);
  byId("limits").textContent = limitsOf(model);
  if (!result) legend.showNames(model.classes);
}

/** Segment a picture; what is shown stays until the answer is there. */
async function open(file) {
  if (!model) await start();
  if (!model) return;
  work?.abort();
  const job = new AbortController();
  work = job;
  again = () => open(file);
  hideError();
  byId("progress").hidden = false;
  tell("Opening the picture", null);
  try {
    const picture = await openPicture(file, model.limits);
    job.signal.throwIfAborted();
    const answer = await segment(picture.body, {
      signal: job.signal,
      onSent: (share) => (share < 1 ? tell(`Sending, ${Math.floor(100 * share)} %`, share) : tell("Segmenting", null)),
      onBusy: (seconds) => tell(`The service is busy; trying again in ${seconds} s`, null),
    });
    job.signal.throwIfAborted();
    show(picture, answer);
  } catch (error) {
    if (work === job) tell("", 0);
    if (!job.signal.aborted) showError(error.message, error.retry);
  } finally {
    if (work === job) {
      work = null;
      byId("progress").hidden = true;
    }
  }
}

function show(picture, answer) {
  const { width, height } = answer;
  // Should the two ever read a file's orientation differently, the classes must not lie on the wrong pixels.
  const alike = picture.bitmap?.width === width && picture.bitmap?.height === height;
  result = { ...answer, name: picture.name };
  byId("invitation").hidden = true;
  for (const id of ["frame", "controls", "downloads", "certainty"]) byId(id).hidden = false;
  byId("stage").classList.add("filled");
  byId("picture-name").textContent = `${picture.name}, ${width} × ${height}`;
  byId("certainty").textContent = `Mean certainty ${percent(1 - answer.mean_uncertainty)}`;
  byId("opacity").disabled = !alike;
  probe.clear();
  view.setPicture(alike ? picture.bitmap : null, width, height);
  legend.showShares(answer.classes);
  paint(null);
  tell(["Segmented.", ...picture.notes].join(" "), 1);
}

/** Colour the layer anew; `index` is the class to show alone, null for all. */
function paint(index) {
  only = index;
  const layer = document.querySelector("[name=layer]:checked").value;
  byId("scale").hidden = layer !== "uncertainty";
  if (layer === "uncertainty") {
    view.setLayer(result.unsure, colorTable(heat));
  } else {
    const colors = result.classes.map((entry) => (only === null || only === entry.index ? entry.color : null));
    view.setLayer(result.values, colorTable(colors));
  }
  draw();
}

function draw() {
  const { value } = byId("opacity");
  byId("opacity-value").textContent = `${value} %`;
  view.draw(value / 100);
}

/** Say what is at a pixel, to the eye, and after a key to the ear. */
function showPixel(at, byKey) {
  const place = at && result ? at.y * result.width + at.x : null;
  if (place === null) {
    moveTip(null);
    legend.mark(null);
    return;
  }
  const { index, name, color } = result.classes[result.values[place]];
  // 255 stands for 1 - 1/C, as unsure as C classes can be.
  const certainty = percent(1 - (result.unsure[place] / 255) * (1 - 1 / result.classes.length));
  moveTip({ at, size: result, name, color, certainty });
  legend.mark(index);
  if (byKey) byId("spoken").textContent = `${name}, ${certainty} certain, at ${at.x}, ${at.y}`;
}

async function saveAs(kind) {
  const png = (bytes) => new Blob([bytes], { type: "image/png" });
  const made = {
    classes: () => ["_classes.png", png(result.classPng)],
    overlay: async () => ["_overlay.png", await view.toPng()],
    uncertainty: () => ["_uncertainty.png", png(result.unsurePng)],
    csv: () => ["_shares.csv", sharesCsv(result.name, result)],
    json: () => ["_shares.json", sharesJson(result.name, result)],
  };
  const [ending, blob] = await made[kind]();
  save(blob, stem(result.name) + ending);
}

/** `share` is how much of the work is done, null where nobody knows. */
function tell(message, share) {
  byId("status").textContent = message;
  const bar = byId("progress-bar");
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

function showError(message, retry = false) {
  byId("error").hidden = false;
  byId("error-text").textContent = message;
  byId("again").hidden = !retry;
}

function hideError() {
  byId("error").hidden = true;
}
