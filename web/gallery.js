// The gallery view: what is stored, a page at a time, by label, with groups of copies at a glance. Knows pages; adding and single images
// are elsewhere.
import { count, el, field, plural } from './dom.js';
import { adding } from './adding.js';
import { duplicates } from './duplicates.js';
import { picture } from './picture.js';
import { open } from './record.js';
import { ask, contentOf } from './service.js';

export const title = 'Gallery';
const PAGE = 60;

export async function show(main, params, signal) {
  const label = el('select', { onchange: () => { cursors.length = 1; turn(); } }, el('option', { value: '' }, 'all images'));
  const grid = el('ul', { class: 'grid' });
  const summary = el('p', { class: 'summary', role: 'status' });
  const back = el('button', { type: 'button', onclick: () => { cursors.pop(); turn(); } }, 'Previous page');
  const on = el('button', { type: 'button', onclick: () => { cursors.push(next); turn(); } }, 'Next page');
  const shared = el('details', { ontoggle: () => shared.open && copies() }, el('summary', {}, 'Duplicates: images that are copies of each other'));
  const place = el('div', {});
  const copies = duplicates(place, signal, changed);
  shared.append(place);
  // Where each page up to this one begins; the first at the oldest image.
  const cursors = [undefined];
  let next;
  // What was asked for before is not to come after what is asked for now.
  let turning = new AbortController();
  signal.addEventListener('abort', () => turning.abort());

  main.append(
    el('h1', {}, 'Gallery'),
    adding(signal, changed),
    shared,
    el('div', { class: 'bar' }, field('Show', label), el('div', { class: 'row' }, back, on)),
    summary, grid);

  async function labels() {
    const chosen = label.value || params.get('label') || '';
    const { labels: all } = await ask('/labels?limit=1000', { signal });
    const options = all.map((one) => el('option', { value: one.label }, `${one.label} (${count(one.images)})`));
    if (chosen && !all.some((one) => one.label === chosen)) options.unshift(el('option', { value: chosen }, `${chosen} (0)`));
    label.replaceChildren(el('option', { value: '' }, 'all images'), ...options);
    label.value = chosen;
  }

  function tile(image) {
    const text = image.labels.join(', ') || image.id;
    return el('li', {}, el('button', { type: 'button', onclick: () => open(image.id, { changed }) }, picture(contentOf(image.id), `${text}, ${image.id}`), el('span', { class: 'caption' }, text)));
  }

  async function turn() {
    turning.abort();
    turning = new AbortController();
    const asked = new URLSearchParams({ limit: PAGE });
    if (label.value) asked.set('label', label.value);
    if (cursors.at(-1)) asked.set('after', cursors.at(-1));
    const page = await ask(`/images?${asked}`, { signal: turning.signal });
    const first = (cursors.length - 1) * PAGE;
    next = page.next;
    back.disabled = cursors.length === 1;
    on.disabled = !next;
    summary.textContent = page.images.length ? `${count(first + 1)} to ${count(first + page.images.length)} of ${plural(page.total, 'image')}` : 'No images here yet.';
    grid.replaceChildren(...page.images.map(tile));
    history.replaceState(null, '', label.value ? `#gallery?${new URLSearchParams({ label: label.value })}` : '#gallery');
  }

  async function changed() {
    await labels();
    await turn();
    if (shared.open) await copies();
  }

  await changed();
}
