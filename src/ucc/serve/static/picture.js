// From a file of the user to what is sent and what is shown, pixel by pixel the same.

import { openTurned } from "./orientation.js";

// What the service reads; other kinds that the browser knows are converted.
const KINDS = new Set(["image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff"]);
const QUALITY = 0.95;

/**
 * Open a picture, turned as its EXIF orientation says, and make it small enough for the service.
 * @param {File} file
 * @param {{bytes: number, pixels: number}} limits
 * @returns {Promise<{name: string, body: Blob, bitmap: ImageBitmap | null, notes: string[]}>} `bitmap` is null where the
 *   browser cannot show what the service may well read, such as TIFF; `notes` are what the user should know
 * @throws {Error} if the file cannot be read, or is too large and cannot be made smaller
 */
export async function openPicture(file, limits) {
  const name = file.name || "picture";
  await checkReadable(file, name);
  const turned = await openTurned(file);
  const bitmap = turned ?? (await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null));
  if (!bitmap) {
    if (file.size > limits.bytes) {
      throw new Error(
        `${name} has ${megabytes(file.size)}, the service takes ${megabytes(limits.bytes)}, ` +
          "and this browser cannot open it to make it smaller.",
      );
    }
    return { name, body: file, bitmap, notes: ["This browser cannot show such a file; you see its classes alone."] };
  }
  const pixels = bitmap.width * bitmap.height;
  if (!turned && pixels <= limits.pixels && file.size <= limits.bytes && KINDS.has(file.type)) {
    return { name, body: file, bitmap, notes: [] };
  }
  const smaller = await shrink(bitmap, limits);
  const resized = smaller.bitmap.width !== bitmap.width || smaller.bitmap.height !== bitmap.height;
  const note = resized
    ? `Scaled down from ${size(bitmap)} to ${size(smaller.bitmap)}, the most that the service takes.`
    : `Sent as JPEG, ${reason(file, limits, turned)}.`;
  return { name, ...smaller, notes: [note] };
}

/** A folder that was dropped looks like a file, and a file may have been moved or changed since it was chosen. */
async function checkReadable(file, name) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Error(`${name} cannot be read. It is a folder, or it was moved or changed; choose a picture again.`);
  }
}

/** Why a file is not sent as it is, though the service takes as many pixels. */
function reason(file, limits, turned) {
  if (turned) return "turned as the file says";
  return KINDS.has(file.type)
    ? `since the service takes ${megabytes(limits.bytes)} and the file has ${megabytes(file.size)}`
    : "so that the service can read it";
}

/** JPEG of at most so many pixels and bytes, and the pixels that the service will find in it. */
async function shrink(bitmap, limits) {
  let scale = Math.min(1, Math.sqrt(limits.pixels / (bitmap.width * bitmap.height)));
  for (;;) {
    const width = Math.max(1, Math.floor(bitmap.width * scale));
    const height = Math.max(1, Math.floor(bitmap.height * scale));
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, width, height);
    const body = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    if (body.size <= limits.bytes || width * height === 1) return { body, bitmap: await createImageBitmap(body) };
    scale *= 0.8;
  }
}

function size({ width, height }) {
  return `${width} × ${height}`;
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
