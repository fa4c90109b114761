// The label beside the probe, and the ring around it.

import { byId } from "./dom.js";

/** Put the label beside a pixel of a picture of that size, or take it away: null. */
export function moveTip(told) {
  const tip = byId("tip");
  const ring = byId("ring");
  tip.hidden = ring.hidden = told === null;
  if (told === null) return;
  const { at, width, height, name, color, certainty } = told;
  byId("tip-class").textContent = name;
  byId("tip-certainty").textContent = `${certainty} certain`;
  tip.querySelector(".swatch").style.setProperty("--color", `rgb(${color.join(" ")})`);
  for (const moved of [tip, ring]) {
    moved.style.left = `${(100 * (at.x + 0.5)) / width}%`;
    moved.style.top = `${(100 * (at.y + 0.5)) / height}%`;
  }
  // Towards the middle, so that it stays within the picture.
  tip.classList.toggle("leftwards", at.x > width / 2);
  tip.classList.toggle("upwards", at.y > height / 2);
}
