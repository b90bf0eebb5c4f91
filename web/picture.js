// Shows pictures: originals of the gallery, and files that the user chose.
import { el } from './dom.js';
import { pause } from './latest.js';
import { BASE, hasKey, Problem, send } from './service.js';

// A key may have a rate limit, and a page shows many pictures.
const MAX_TRIES = 20;
const RETRY_DELAY = 1000; // ms

/** @param {{ target: EventTarget | null }} event */
const markMissing = ({ target }) => /** @type {HTMLElement} */ (target).classList.add('missing');

/**
 * @param {HTMLImageElement} image
 * @param {Blob} blob
 */
function showBlob(image, blob) {
  const url = URL.createObjectURL(blob);
  const revoke = () => URL.revokeObjectURL(url);
  image.addEventListener('load', revoke, { once: true });
  image.addEventListener('error', revoke, { once: true });
  image.src = url;
}

/**
 * @param {string} path
 * @param {AbortSignal} signal
 */
async function fetchBlob(path, signal) {
  for (let tries = 1;; tries++) {
    try {
      return await (await send(path, { signal })).blob();
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 429 || tries === MAX_TRIES) throw error;
    }
    await pause(RETRY_DELAY, signal);
  }
}

/**
 * Creates the picture at a path of the service.
 * Fetches it by script if there is a key, because the browser sends none for an `<img>`.
 * @param {string} path below BASE
 * @param {string} alt
 * @param {AbortSignal} signal aborts the fetch
 */
export function picture(path, alt, signal) {
  const image = el('img', { alt, loading: 'lazy', decoding: 'async', onerror: markMissing });
  if (hasKey()) fetchBlob(path, signal).then((blob) => showBlob(image, blob), () => markMissing({ target: image }));
  else image.src = BASE + path;
  return image;
}

/**
 * Creates the picture of a file. The browser may be unable to show a format that the service reads.
 * @param {Blob} file
 * @param {string} alt
 */
export function preview(file, alt) {
  const image = el('img', { alt, onerror: markMissing });
  showBlob(image, file);
  return image;
}
