// What the canvas shows: the picture, and over it a layer in colours.

/** One colour for each value of a byte, as four bytes RGBA; what is not given is transparent. */
export function colorTable(colors) {
  const bytes = new Uint8Array(4 * 256);
  colors.forEach((color, value) => color && bytes.set([...color, 255], 4 * value));
  return new Uint32Array(bytes.buffer);
}

/** The colours of the image at `address`, from left to right. */
export async function readColors(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  const context = new OffscreenCanvas(image.width, 1).getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, 1);
  return Array.from({ length: image.width }, (_, index) => [...data.subarray(4 * index, 4 * index + 3)]);
}

export class View {
  #canvas;
  #context;
  #bitmap = null;
  #layer = new OffscreenCanvas(1, 1);

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
  }

  /** Take another picture, or none, of that many pixels. */
  setPicture(bitmap, width, height) {
    this.#bitmap?.close();
    this.#bitmap = bitmap;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#canvas.parentElement.style.setProperty("--ratio", width / height);
  }

  /** Colour the layer: `values` are bytes row by row, `table` says which colour each has. */
  setLayer(values, table) {
    const { width, height } = this.#canvas;
    const image = new ImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let index = 0; index < pixels.length; index++) pixels[index] = table[values[index]];
    this.#layer = new OffscreenCanvas(width, height);
    this.#layer.getContext("2d").putImageData(image, 0, 0);
  }

  /** @param {number} opacity of the layer, 0 to 1; without a picture under it, it is opaque */
  draw(opacity) {
    this.#context.globalAlpha = 1;
    this.#context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    if (this.#bitmap) {
      this.#context.drawImage(this.#bitmap, 0, 0);
      this.#context.globalAlpha = opacity;
    }
    this.#context.drawImage(this.#layer, 0, 0);
  }

  /** @returns {Promise<Blob>} what is shown, as PNG */
  toPng() {
    return new Promise((resolve) => this.#canvas.toBlob(resolve, "image/png"));
  }
}
