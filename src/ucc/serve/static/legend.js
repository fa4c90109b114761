// The classes with their colours and shares; a press on one shows it alone.

import { byId, element, percent } from "./dom.js";

export class Legend {
  #list;
  #absent;
  #onOnly;
  #rows = new Map();

  /**
   * @param {HTMLElement} list of the classes in the picture
   * @param {HTMLElement} absent the line for the others
   * @param {(index: number | null) => void} onOnly told the class to show alone, null for all
   */
  constructor(list, absent, onOnly) {
    this.#list = list;
    this.#absent = absent;
    this.#onOnly = onOnly;
  }

  /** The model's classes, before there is a picture. */
  showNames(classes) {
    this.#list.replaceChildren(...classes.map((entry) => element("li", {}, [named(entry)])));
  }

  /** The classes in the picture, largest first, then what is not in it. */
  showShares(classes) {
    const present = classes.filter(({ share }) => share > 0).sort((a, b) => b.share - a.share);
    const missing = classes.filter(({ share }) => share === 0);
    const focused = [...this.#rows].find(([, row]) => row === document.activeElement)?.[0];
    this.#rows = new Map(present.map((entry) => [entry.index, this.#row(entry)]));
    this.#list.classList.remove("one");
    this.#list.replaceChildren(...[...this.#rows.values()].map((row) => element("li", {}, [row])));
    this.#absent.hidden = missing.length === 0;
    this.#absent.textContent = `Not in this picture: ${missing.map(({ name }) => name).join(", ")}`;
    if (focused !== undefined) (this.#rows.get(focused) ?? byId("canvas")).focus({ preventScroll: true });
  }

  /** Mark the class under the probe. */
  mark(index) {
    for (const [other, row] of this.#rows) row.classList.toggle("marked", other === index);
  }

  #row({ index, name, color, share }) {
    const bar = element("span", { className: "bar" });
    bar.style.setProperty("--share", share);
    const row = element("button", { type: "button", className: "row", title: `Show ${name} alone` }, [
      named({ name, color }),
      element("span", { className: "share", textContent: percent(share) }),
      bar,
    ]);
    row.setAttribute("aria-pressed", "false");
    row.addEventListener("click", () => this.#press(index));
    return row;
  }

  #press(index) {
    const chosen = this.#rows.get(index).getAttribute("aria-pressed") === "false";
    for (const [other, row] of this.#rows) row.setAttribute("aria-pressed", String(chosen && other === index));
    this.#list.classList.toggle("one", chosen);
    this.#onOnly(chosen ? index : null);
  }
}

function named({ name, color }) {
  const swatch = element("span", { className: "swatch" });
  swatch.style.setProperty("--color", `rgb(${color.join(" ")})`);
  return element("span", { className: "named" }, [swatch, element("span", { className: "name", textContent: name })]);
}
