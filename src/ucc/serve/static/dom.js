// What several modules need of the document.

/** @returns {HTMLElement} the element with that id */
export const byId = (id) => document.getElementById(id);

/** A new element with properties and children. */
export function element(tag, properties = {}, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Hide an element. If the focus is in it, it goes on to the picture, or to where one is chosen. */
export function hide(hidden) {
  const focused = hidden.contains(document.activeElement);
  hidden.hidden = true;
  if (focused) byId(byId("frame").hidden ? "choose" : "canvas").focus({ preventScroll: true });
}

/** A share in percent; what is there but rounds to nothing is not told to be nothing. */
export function percent(share) {
  return share > 0 && share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
}
