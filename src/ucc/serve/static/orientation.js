// Files that EXIF says to turn and some browsers do not: WebP, and PNG with EXIF after the pixels.

const ORIENTATION = 0x0112; // a tag of the first directory (EXIF 3.0, 4.6.5)

// What sets a picture of that width and height upright, by its orientation, as a canvas wants it.
const TURNS = {
  2: (width) => [-1, 0, 0, 1, width, 0],
  3: (width, height) => [-1, 0, 0, -1, width, height],
  4: (_, height) => [1, 0, 0, -1, 0, height],
  5: () => [0, 1, 1, 0, 0, 0],
  6: (_, height) => [0, 1, -1, 0, height, 0],
  7: (width, height) => [0, -1, -1, 0, height, width],
  8: (width) => [0, -1, 1, 0, 0, width],
};

/**
 * Open a WebP or PNG, and turn it as its EXIF says.
 * @param {Blob} file
 * @returns {Promise<ImageBitmap | null>} null if the file is to be opened as any other: it needs no turn, or the browser
 *   knows that turn, or it is of another kind
 */
export async function openTurned(file) {
  const chunksOf = CHUNKS[text(new DataView(await file.slice(0, 4).arrayBuffer()), 0)];
  if (!chunksOf) return null;
  const view = new DataView(await file.arrayBuffer());
  const found = findOrientation(view, chunksOf);
  if (!found) return null;
  view.setUint16(found.at, 1, found.little); // "as it lies", so that those that would turn it do not either
  const lying = await createImageBitmap(new Blob([view])).catch(() => null);
  return lying && turned(lying, TURNS[found.orientation]);
}

function turned(bitmap, turn) {
  const [a, b, c, d, right, down] = turn(bitmap.width, bitmap.height);
  const across = a === 0 ? [bitmap.height, bitmap.width] : [bitmap.width, bitmap.height];
  const canvas = new OffscreenCanvas(...across);
  const context = canvas.getContext("2d");
  context.setTransform(a, b, c, d, right, down);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.transferToImageBitmap();
}

/** The orientation, if it asks for a turn, with its place and byte order; null where there is none or it is damaged. */
function findOrientation(view, chunksOf) {
  try {
    for (const start of chunksOf(view)) {
      const little = text(view, start) === "II*\0";
      if (!little && text(view, start) !== "MM\0*") return null;
      const directory = start + view.getUint32(start + 4, little);
      for (let entry = 0; entry < view.getUint16(directory, little); entry++) {
        const at = directory + 2 + 12 * entry;
        if (view.getUint16(at, little) !== ORIENTATION) continue;
        const orientation = view.getUint16(at + 8, little);
        return orientation in TURNS ? { orientation, at: at + 8, little } : null;
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // beyond the end of the file
  }
  return null;
}

// By the first four bytes of a file: where EXIF begins in it that browsers pass over.
const CHUNKS = {
  RIFF: function* (view) {
    for (let at = 12; at + 8 <= view.byteLength; ) {
      if (text(view, at) === "EXIF") yield at + 8;
      const length = view.getUint32(at + 4, true);
      at += 8 + length + (length % 2);
    }
  },
  "\x89PNG": function* (view) {
    let passed = false; // the pixels
    for (let at = 8; at + 12 <= view.byteLength; at += 12 + view.getUint32(at)) {
      const kind = text(view, at + 4);
      if (kind === "eXIf" && passed) yield at + 8;
      passed ||= kind === "IDAT";
    }
  },
};

/** Four bytes as characters, fewer at the end of a file. */
function text(view, at) {
  return String.fromCharCode(...new Uint8Array(view.buffer).subarray(at, at + 4));
}
