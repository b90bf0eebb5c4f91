// The gallery view: the stored images of a label, page by page.
// Uploads, duplicates and records show themselves.
import { button, el, field } from './dom.js';
import { DuplicatesPanel } from './duplicates.js';
import { count, plural } from './format.js';
import { latest } from './latest.js';
import { picture } from './picture.js';
import { openRecord } from './record.js';
import { ask, originalPath } from './service.js';
import { UploadForm } from './upload.js';

/** @typedef {import('./service.js').Image} Image */

export const title = 'Gallery';

const PAGE_SIZE = 60; // images
const MAX_LABELS = 1000;

const allImages = () => el('option', { value: '' }, 'all images');

class GalleryView {
  /**
   * @param {string} label '' for all images
   * @param {AbortSignal} signal
   */
  constructor(label, signal) {
    this.signal = signal;
    this.label = label;
    /**
     * Where each page up to the shown one begins; undefined is the oldest image.
     * @type {(string | undefined)[]}
     */
    this.cursors = [undefined];
    /** @type {string | null} where the next page begins */
    this.next = null;
    this.loadPage = latest(
      signal,
      (own, /** @type {(string | undefined)[]} */ cursors) => this.#loadPage(own, cursors),
    );
    this.loadLabels = latest(signal, (own) => this.#loadLabels(own));
    const onEdit = () => this.refresh();
    this.onEdit = onEdit;
    this.uploads = new UploadForm(signal, onEdit);
    this.duplicates = new DuplicatesPanel(signal, onEdit);
    this.select = el('select', { onchange: () => this.#chooseLabel(this.select.value) }, allImages());
    this.previousButton = button(
      'Previous page',
      () => this.cursors.length > 1 && this.loadPage(this.cursors.slice(0, -1)),
    );
    this.nextButton = button('Next page', () => this.next && this.loadPage([...this.cursors, this.next]));
    this.summary = el('p', { class: 'summary', role: 'status' });
    this.grid = el('ul', { class: 'grid' });
    this.elements = [
      this.uploads.element,
      this.duplicates.element,
      el(
        'div',
        { class: 'bar' },
        field('Show', this.select),
        el('div', { class: 'row' }, this.previousButton, this.nextButton),
      ),
      this.summary,
      this.grid,
    ];
  }

  /** Loads everything that is shown again. */
  async refresh() {
    await Promise.all([this.loadLabels(), this.loadPage(this.cursors), this.duplicates.refresh()]);
  }

  /** @param {string} label */
  #chooseLabel(label) {
    this.label = label;
    this.cursors = [undefined];
    this.next = null;
    return this.loadPage(this.cursors);
  }

  /** @param {AbortSignal} signal */
  async #loadLabels(signal) {
    /** @type {{ labels: { label: string, images: number }[] }} */
    const { labels } = await ask(`/labels?limit=${MAX_LABELS}`, { signal });
    signal.throwIfAborted();
    const isKnown = labels.some(({ label }) => label === this.label);
    const all = isKnown || !this.label ? labels : [{ label: this.label, images: 0 }, ...labels];
    const options = all.map(({ label, images }) => el('option', { value: label }, `${label} (${count(images)})`));
    this.select.replaceChildren(allImages(), ...options);
    this.select.value = this.label;
  }

  /**
   * @param {AbortSignal} signal
   * @param {(string | undefined)[]} cursors
   */
  async #loadPage(signal, cursors) {
    const { label } = this;
    const params = new URLSearchParams({ limit: String(PAGE_SIZE) });
    const cursor = cursors.at(-1);
    if (label) params.set('label', label);
    if (cursor) params.set('after', cursor);
    /** @type {{ images: Image[], total: number, next: string | null }} */
    const { images, total, next } = await ask(`/images?${params}`, { signal });
    signal.throwIfAborted();
    Object.assign(this, { cursors, next });
    this.previousButton.disabled = cursors.length === 1;
    this.nextButton.disabled = !next;
    const first = (cursors.length - 1) * PAGE_SIZE;
    const range = `${count(first + 1)} to ${count(first + images.length)} of ${plural(total, 'image')}`;
    this.summary.textContent = images.length ? range : 'No images here yet.';
    this.grid.replaceChildren(...images.map((image) => this.#tile(image)));
    history.replaceState(null, '', label ? `#gallery?${new URLSearchParams({ label })}` : '#gallery');
  }

  /** @param {Image} image */
  #tile({ id, labels }) {
    const { signal, onEdit } = this;
    const text = labels.join(', ') || id;
    const content = [picture(originalPath(id), `${text}, ${id}`, signal), el('span', { class: 'caption' }, text)];
    return el('li', {}, button(content, () => openRecord(id, { onEdit, signal })));
  }
}

/**
 * @param {HTMLElement} main
 * @param {URLSearchParams} params
 * @param {AbortSignal} signal
 */
export async function show(main, params, signal) {
  const view = new GalleryView(params.get('label') ?? '', signal);
  main.append(el('h1', {}, 'Gallery'), ...view.elements);
  await view.refresh();
}
