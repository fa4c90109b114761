// The ways a picture gets onto the page: a button, the camera, a drop, the clipboard.

import { byId } from "./dom.js";

/**
 * @param {(file: File, notes: string[]) => void} onFile told the picture, and what the user should know
 * @param {(message: string) => void} onNothing told why there is none
 */
export function listen(onFile, onNothing) {
  for (const [button, input] of [
    ["choose", "file"],
    ["photograph", "camera"],
  ]) {
    byId(button).addEventListener("click", () => byId(input).click());
    byId(input).addEventListener("change", ({ target }) => {
      const [file] = target.files;
      target.value = ""; // so that the same file can be chosen again
      if (file) onFile(file, []);
    });
  }
  byId("invitation").addEventListener("click", () => byId("file").click());

  const take = ({ files }, missing) => {
    const file = [...files].find(({ type }) => type.startsWith("image/")) ?? files[0];
    if (!file) onNothing(missing);
    else if (files.length === 1) onFile(file, []);
    else onFile(file, [`One picture is taken at a time; of these ${files.length} files it is ${file.name}.`]);
  };
  document.addEventListener("paste", (event) => {
    take(event.clipboardData, "The clipboard holds no picture.");
  });
  // Without this, the browser would leave the page and open the file.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    take(event.dataTransfer, "What was dropped is no file; save the picture first, or copy and paste it.");
  });
}
