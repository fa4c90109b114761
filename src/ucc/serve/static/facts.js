// What the model says about itself.

import { element } from "./dom.js";

/** Fill the list of facts from the answer to `GET /model`. */
export function showFacts(list, model) {
  const facts = [
    ["Name", model.name],
    ["Data set", model.dataset],
    ["Classes", String(model.classes.length)],
    ["mIoU", model.miou === null ? "not measured" : `${model.miou.toFixed(1)} % on ${model.miou_split}`],
    ["Revision", shortened(model.revision)],
    ["Trained", `${model.step} steps${model.quantized ? ", weights of 8 bits" : ""}`],
    ["Version", `ucc ${model.ucc_version}`],
  ];
  list.replaceChildren(
    ...facts.map(([term, text]) =>
      element("div", {}, [element("dt", { textContent: term }), element("dd", { textContent: text })]),
    ),
  );
}

/** What the service takes, in a sentence. */
export const limitsOf = ({ limits }) =>
  `JPEG, PNG, WebP, BMP or TIFF. Beyond ${(limits.pixels / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} ` +
  "megapixels it is scaled down.";

/** A commit as git abbreviates it, and whether the code had changed since. */
const shortened = (revision) => revision.replace(/^([0-9a-f]{7})[0-9a-f]{33}/, "$1");
