// The label beside the probe, and the ring around it.

import { byId } from "./dom.js";

// In CSS pixels: between the label and the probe, and between the label and the window's edge.
const GAP = 14;
const EDGE = 8;

let moveAgain = () => {}; // to the same pixel of the picture
addEventListener("resize", () => moveAgain());

/** Put the label beside a pixel of a picture of that size, or take it away: null. */
export function moveTip(told) {
  const tip = byId("tip");
  const ring = byId("ring");
  moveAgain = () => moveTip(told);
  tip.hidden = ring.hidden = told === null;
  if (told === null) return;
  const { at, width, height, name, color, certainty } = told;
  byId("tip-class").textContent = name;
  byId("tip-certainty").textContent = `${certainty} certain`;
  tip.querySelector(".swatch").style.setProperty("--color", `rgb(${color.join(" ")})`);
  const across = (at.x + 0.5) / width;
  ring.style.left = `${100 * across}%`;
  tip.style.top = ring.style.top = `${(100 * (at.y + 0.5)) / height}%`;
  // Towards the middle, so that it stays within the picture.
  tip.classList.toggle("upwards", at.y > height / 2);
  moveAcross(tip, across, at.x > width / 2);
}

/** By its left edge: what a transform moves into the window still counts as being where it was, and the page scrolls. */
function moveAcross(tip, across, leftwards) {
  const frame = tip.parentElement.getBoundingClientRect();
  const probe = frame.left + across * frame.width;
  const wanted = leftwards ? probe - GAP - tip.offsetWidth : probe + GAP;
  const most = document.documentElement.clientWidth - EDGE - tip.offsetWidth;
  tip.style.left = `${Math.max(EDGE, Math.min(wanted, most)) - frame.left}px`;
}
