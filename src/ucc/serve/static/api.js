// The service that this page came from.

import { decodePng } from "./png.js";

const RETRIES = 5;

/** An answer that is no result. `retry` tells whether the same request may succeed later. */
export class ServiceError extends Error {
  constructor(message, retry) {
    super(message);
    this.retry = retry;
  }
}

/** What the model says about itself: name, classes with colours, mIoU, revision, and the limits of the service. */
export async function fetchModel() {
  let answer;
  try {
    answer = await fetch("model");
  } catch {
    throw unreachable();
  }
  const told = await answer.json().catch(() => null);
  if (!answer.ok || !told) throw refusal(answer.status, told);
  return told;
}

/**
 * Segment a picture; while the service is busy, wait as long as it asks for and send the picture again.
 * @param {Blob} body the picture file
 * @param {{signal: AbortSignal, onSent: (share: number) => void, onBusy: (seconds: number) => void}} told
 * @returns the answer's JSON, with `values` (class index of each pixel) and `unsure` (0 certain .. 255 as unsure as can
 *   be), both Uint8Array row by row, and the bytes of the PNGs they came in: `classPng`, `unsurePng`
 */
export async function segment(body, { signal, onSent, onBusy }) {
  for (let attempt = 0; ; attempt++) {
    const { status, wait, told } = await post(body, signal, onSent);
    if (status === 200 && told) return unpack(told);
    if (status !== 503 || attempt === RETRIES) throw refusal(status, told);
    for (let seconds = wait; seconds > 0; seconds--) {
      onBusy(seconds);
      await pause(1000, signal);
    }
  }
}

/** XMLHttpRequest, since fetch does not tell how much of a body has been sent. */
function post(body, signal, onSent) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "segment");
    request.responseType = "json";
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => onSent(event.loaded / event.total);
    request.upload.onload = () => onSent(1);
    request.onload = () => {
      const wait = Math.min(Math.max(Number.parseInt(request.getResponseHeader("Retry-After"), 10) || 1, 1), 60);
      resolve({ status: request.status, wait, told: request.response });
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(signal.reason);
    signal.throwIfAborted();
    signal.addEventListener("abort", () => request.abort());
    onSent(0);
    request.send(body);
  });
}

async function unpack(told) {
  const classPng = fromBase64(told.class_map);
  const unsurePng = fromBase64(told.uncertainty_map);
  const [classes, unsure] = await Promise.all([decodePng(classPng), decodePng(unsurePng)]);
  return { ...told, values: classes.pixels, unsure: unsure.pixels, classPng, unsurePng };
}

function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

function refusal(status, told) {
  const message = told?.error ?? `The service answered with status ${status} and no explanation.`;
  return new ServiceError(message, status === 408 || status >= 500);
}

function unreachable() {
  return new ServiceError("The service cannot be reached. Is it still running?", true);
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
