// What is shown of a result: the layer over the picture, the classes' shares, the pixel under the probe, files to save.

import { byId, percent } from "./dom.js";
import { save, sharesCsv, sharesJson, stem } from "./download.js";
import { Legend } from "./legend.js";
import { Probe } from "./probe.js";
import { moveTip } from "./tip.js";
import { View, colorTable } from "./view.js";

export class ResultPanel {
  #view = new View(byId("canvas"));
  #probe = new Probe(byId("canvas"), (at, byKey) => this.#showPixel(at, byKey));
  #legend = new Legend(byId("legend"), byId("absent"), (index) => this.#showAlone(index));
  #heat = []; // colours of the uncertainty, from certain to unsure
  #result = null; // the service's answer, and the picture's name
  #only = null; // the class that is shown alone

  constructor() {
    byId("opacity").addEventListener("input", () => this.#draw());
    for (const radio of layers()) radio.addEventListener("change", () => this.#paint());
    for (const button of document.querySelectorAll("[data-save]")) {
      button.addEventListener("click", () => this.#save(button.dataset.save));
    }
  }

  /** What is known before any picture: the classes, and the colours of the uncertainty. */
  introduce(classes, heat) {
    this.#heat = heat;
    if (!this.#result) this.#legend.showNames(classes);
  }

  /**
   * Show an answer of the service over its picture.
   * @param {{name: string, bitmap: ImageBitmap | null}} picture as `openPicture` gives it
   * @param answer as `segment` gives it
   */
  show(picture, answer) {
    const { width, height } = answer;
    // Should browser and service turn a file differently, the classes must not lie on pixels that are not theirs.
    const alike = picture.bitmap?.width === width && picture.bitmap?.height === height;
    this.#result = { ...answer, name: picture.name };
    this.#only = null;
    byId("invitation").hidden = true;
    for (const id of ["frame", "controls", "downloads", "certainty"]) byId(id).hidden = false;
    byId("stage").classList.add("filled");
    byId("certainty").textContent = `Mean certainty ${percent(1 - answer.mean_uncertainty)}`;
    byId("opacity").disabled = !alike; // without a picture, there is nothing under the layer
    this.#probe.clear();
    this.#view.setPicture(alike ? picture.bitmap : null, width, height);
    this.#legend.showShares(answer.classes);
    this.#paint();
  }

  #showAlone(index) {
    this.#only = index;
    layers()[0].checked = true; // the other layer has no classes
    this.#paint();
  }

  #paint() {
    const { classes, values, unsure } = this.#result;
    const heated = [...layers()].find(({ checked }) => checked).value === "uncertainty";
    byId("scale").hidden = !heated;
    const shown = ({ index }) => this.#only === null || this.#only === index;
    const colors = heated ? this.#heat : classes.map((entry) => (shown(entry) ? entry.color : null));
    this.#view.setLayer(heated ? unsure : values, colorTable(colors));
    this.#draw();
  }

  #draw() {
    const { value } = byId("opacity");
    byId("opacity-value").textContent = `${value} %`;
    this.#view.draw(value / 100);
  }

  /** Say what is at a pixel, to the eye, and after a key to the ear. */
  #showPixel(at, byKey) {
    if (!at) {
      moveTip(null);
      this.#legend.mark(null);
      return;
    }
    const { width, height, classes, values, unsure } = this.#result;
    const place = at.y * width + at.x;
    const { index, name, color } = classes[values[place]];
    // 255 stands for 1 - 1/C, as unsure as C classes can be.
    const certainty = percent(1 - (unsure[place] / 255) * (1 - 1 / classes.length));
    moveTip({ at, width, height, name, color, certainty });
    this.#legend.mark(index);
    if (byKey) byId("spoken").textContent = `${name}, ${certainty} certain, at ${at.x}, ${at.y}`;
  }

  async #save(kind) {
    const result = this.#result;
    const png = (bytes) => new Blob([bytes], { type: "image/png" });
    const files = {
      classes: () => ["_classes.png", png(result.classPng)],
      overlay: async () => ["_overlay.png", await this.#view.toPng()],
      uncertainty: () => ["_uncertainty.png", png(result.unsurePng)],
      csv: () => ["_shares.csv", sharesCsv(result)],
      json: () => ["_shares.json", sharesJson(result)],
    };
    const [ending, blob] = await files[kind]();
    save(blob, stem(result.name) + ending);
  }
}

const layers = () => document.getElementsByName("layer");
