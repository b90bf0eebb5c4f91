// Groups of images that share a code, the largest first: to the model they are the same picture. Knows codes; records show themselves.
import { el, plural } from './dom.js';
import { picture } from './picture.js';
import { open } from './record.js';
import { ask } from './service.js';

const GROUPS = 12;
const SHOWN = 8;

async function group({ code, images }, signal, changed) {
  const { matches } = await ask(`/search?radius=0&limit=${SHOWN}&bits=${code.length * 4}`, { json: { code }, signal });
  const tile = (match) => el('li', {}, el('button', { type: 'button', onclick: () => open(match.id, { changed }) }, picture(match.content_url, `${match.labels.join(', ')} ${match.id}`)));
  const all = new URLSearchParams({ code, radius: 0, limit: 100 });
  return el('section', { class: 'duplicates' }, el('h3', {}, el('a', { href: `#search?${all}` }, plural(images, 'image')), ' ', el('code', {}, code)), el('ul', { class: 'grid small' }, matches.map(tile)));
}

export async function duplicates(place, signal, changed) {
  const { shared, distinct, images, bits } = await ask(`/codes?limit=${GROUPS}`, { signal });
  const summary = `${plural(images, 'image')} have ${plural(distinct, 'distinct code')} of ${bits} bits.`;
  const groups = await Promise.all(shared.map((one) => group(one, signal, changed)));
  place.replaceChildren(el('p', {}, shared.length ? `${summary} The most shared:` : `${summary} No two have the same.`), ...groups);
}
