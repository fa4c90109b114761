// The PNGs that the service answers with: one byte a pixel, grey or palette (W3C PNG, third edition).
// A canvas would give colours instead of indices, and two classes may have the same colour.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

/**
 * Pixel values of a PNG of 8 bits, grey or indexed, not interlaced.
 * @param {Uint8Array} bytes
 * @returns {Promise<{width: number, height: number, pixels: Uint8Array}>} pixels row by row
 * @throws {Error} for any other file, or one that is cut off
 */
export async function decodePng(bytes) {
  if (!SIGNATURE.every((value, index) => bytes[index] === value)) throw new Error("not a PNG");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = [];
  let width = 0;
  let height = 0;
  for (let at = SIGNATURE.length; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (kind === "IHDR") {
      width = view.getUint32(at + 8);
      height = view.getUint32(at + 12);
      const [depth, color, , , interlace] = bytes.subarray(at + 16, at + 21);
      if (depth !== 8 || (color !== 0 && color !== 3) || interlace !== 0) {
        throw new Error("a PNG that is not 8 bits, grey or indexed, without interlacing");
      }
    } else if (kind === "IDAT") {
      parts.push(bytes.subarray(at + 8, at + 8 + length));
    }
    at += 12 + length;
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const rows = new Uint8Array(await new Response(stream).arrayBuffer());
  if (!width || rows.length !== height * (width + 1)) throw new Error("a PNG that is cut off");
  return { width, height, pixels: unfilter(rows, width, height) };
}

/** Undo the filters (section 9), one byte a pixel; `rows` are led by the number of their filter. */
function unfilter(rows, width, height) {
  const pixels = new Uint8Array(width * height);
  let above = new Uint8Array(width);
  for (let y = 0; y < height; y++) {
    const filter = rows[y * (width + 1)];
    const from = rows.subarray(y * (width + 1) + 1, (y + 1) * (width + 1));
    const row = pixels.subarray(y * width, (y + 1) * width);
    let left = 0;
    let corner = 0;
    for (let x = 0; x < width; x++) {
      const up = above[x];
      // A typed array keeps the lowest 8 bits, which is the modulus that the filters ask for.
      row[x] = from[x] + predict(filter, left, up, corner);
      left = row[x];
      corner = up;
    }
    above = row;
  }
  return pixels;
}

function predict(filter, left, up, corner) {
  switch (filter) {
    case 0:
      return 0;
    case 1:
      return left;
    case 2:
      return up;
    case 3:
      return (left + up) >> 1;
    case 4:
      return nearest(left, up, corner);
    default:
      throw new Error(`a PNG with an unknown filter, ${filter}`);
  }
}

/** Paeth's predictor: which of the three is nearest to left + up - corner. */
function nearest(left, up, corner) {
  const toLeft = Math.abs(up - corner);
  const toUp = Math.abs(left - corner);
  const toCorner = Math.abs(left + up - 2 * corner);
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}
