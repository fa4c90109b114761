// The pixel that a mouse, a finger or the arrow keys point at.

const STEPS = 100; // presses of an arrow key along the longer side; with Shift a tenth of them

export class Probe {
  #canvas;
  #onMove;
  #at = null;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(at: {x: number, y: number} | null, byKey: boolean) => void} onMove told the pixel, null where there is none,
   *   and whether a key led there
   */
  constructor(canvas, onMove) {
    this.#canvas = canvas;
    this.#onMove = onMove;
    canvas.addEventListener("pointermove", (event) => this.#point(event));
    canvas.addEventListener("pointerdown", (event) => this.#point(event));
    // A finger that is lifted leaves the canvas, too; what it touched stays marked.
    canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.clear());
    canvas.addEventListener("keydown", (event) => this.#press(event));
    canvas.addEventListener("blur", () => this.clear());
  }

  clear() {
    this.#at = null;
    this.#onMove(null, false);
  }

  #point(event) {
    const { width, height } = this.#canvas;
    const frame = this.#canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - frame.left) * width) / frame.width);
    const y = Math.floor(((event.clientY - frame.top) * height) / frame.height);
    this.#move(x, y, false);
  }

  #press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { width, height } = this.#canvas;
    const { x, y } = this.#at ?? { x: Math.floor(width / 2), y: Math.floor(height / 2) };
    const step = Math.max(1, Math.round(Math.max(width, height) / STEPS)) * (event.shiftKey ? 10 : 1);
    const targets = {
      ArrowLeft: [x - step, y],
      ArrowRight: [x + step, y],
      ArrowUp: [x, y - step],
      ArrowDown: [x, y + step],
      Home: [0, y],
      End: [width - 1, y],
      PageUp: [x, 0],
      PageDown: [x, height - 1],
    };
    if (event.key === "Escape") this.clear();
    else if (event.key in targets) this.#move(...targets[event.key], true);
    else return;
    event.preventDefault();
  }

  #move(x, y, byKey) {
    const { width, height } = this.#canvas;
    this.#at = { x: Math.min(Math.max(x, 0), width - 1), y: Math.min(Math.max(y, 0), height - 1) };
    this.#onMove(this.#at, byKey);
  }
}
