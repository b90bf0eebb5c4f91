// Pictures of the gallery, with the key where there is one: an address in an <img> carries none. Knows no view.
import { el } from './dom.js';
import { BASE, hasKey, send } from './service.js';

// A key may have a rate, and a page has many pictures.
const TRIES = 20;

async function load(image, path) {
  for (let tries = 1; ; tries++) {
    try {
      const answer = await send(path);
      const shown = URL.createObjectURL(await answer.blob());
      image.addEventListener('load', () => URL.revokeObjectURL(shown), { once: true });
      image.src = shown;
      return;
    } catch (problem) {
      if (problem.status !== 429 || tries === TRIES) return void image.dispatchEvent(new Event('error'));
      await new Promise((after) => setTimeout(after, 1000));
    }
  }
}

/** The picture at a path of the service. */
export function picture(path, alt) {
  const image = el('img', { alt, loading: 'lazy', decoding: 'async', onerror: () => image.classList.add('missing') });
  if (hasKey()) load(image, path);
  else image.src = BASE + path;
  return image;
}

/** The picture of a file that was chosen. */
export function preview(file, alt) {
  const shown = URL.createObjectURL(file);
  // A browser that cannot show it still sends it.
  const image = el('img', { src: shown, alt, onload: () => URL.revokeObjectURL(shown), onerror: () => image.classList.add('missing') });
  return image;
}
