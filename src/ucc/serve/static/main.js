// The page: from a picture of the user to the service's answer, and what is said on the way.

import { fetchModel, segment } from "./api.js";
import { byId, hide } from "./dom.js";
import { limitsOf, showFacts } from "./facts.js";
import { listen } from "./intake.js";
import { openPicture } from "./picture.js";
import { ResultPanel } from "./result.js";
import { readColors } from "./view.js";

const panel = new ResultPanel();

let model = null; // what GET /model told
let work = null; // AbortController of what is under way
let again = start; // what failed last
let shown = ""; // what the status says of the picture that is shown

listen(open, showError);
byId("cancel").addEventListener("click", () => work?.abort());
byId("again").addEventListener("click", () => again());
start();

async function start() {
  hideError();
  try {
    const [told, heat] = await Promise.all([fetchModel(), readColors("static/heat.png")]);
    model = told;
    showFacts(byId("facts"), model);
    byId("limits").textContent = limitsOf(model);
    panel.introduce(model.classes, heat);
  } catch (error) {
    showError(error.message, true);
  }
}

/** Segment a picture; what is shown stays until the answer is there. `notes` are what the user should know of it. */
async function open(file, notes) {
  again = () => open(file, notes);
  if (!model) await start();
  if (!model) return;
  work?.abort();
  const job = new AbortController();
  work = job;
  hideError();
  tell("Opening the picture");
  try {
    const picture = await openPicture(file, model.limits);
    const answer = await segment(picture.body, {
      signal: job.signal,
      onSent: (share) => (share < 1 ? tell(`Sending, ${Math.floor(100 * share)} %`, share) : tell("Segmenting")),
      onBusy: (seconds) => tell(`The service is busy; trying again in ${seconds} s`),
    });
    job.signal.throwIfAborted();
    panel.show(picture, answer);
    const size = `${picture.name}, ${answer.width} × ${answer.height}`;
    shown = [size, [...picture.notes, ...notes].join(" ")].filter(Boolean).join(". ");
  } catch (error) {
    if (!job.signal.aborted) showError([error.message, ...notes].join(" "), error.retry);
  } finally {
    if (work === job) rest();
  }
}

/** Say what is under way; `share` is how much of it is done, if that is known. */
function tell(message, share) {
  byId("status").textContent = message;
  byId("progress").hidden = false;
  const bar = byId("progress-bar");
  if (share === undefined) bar.removeAttribute("value");
  else bar.value = share;
}

function rest() {
  work = null;
  byId("status").textContent = shown;
  hide(byId("progress"));
}

function showError(message, retry = false) {
  byId("error").hidden = false;
  byId("error-text").textContent = message;
  if (retry) byId("again").hidden = false;
  else hide(byId("again"));
}

function hideError() {
  hide(byId("error"));
}
