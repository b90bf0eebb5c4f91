// The gallery view: the stored images of a label or a filter, in an order, page by page.
// Uploads, duplicates, records, and changes by filter show themselves.
import { FilteredImages } from './by-filter.js';
import { button, el, field } from './dom.js';
import { DuplicatesPanel } from './duplicates.js';
import { fetchFields, FilterInput, isFilterProblem } from './filter-input.js';
import { count, plural } from './format.js';
import { latest } from './latest.js';
import { picture } from './picture.js';
import { openRecord } from './record.js';
import { ask, originalPath } from './service.js';
import { UploadForm } from './upload.js';

/** @typedef {import('./service.js').Image} Image */
/**
 * What the gallery shows: '' stands for all images and for the order by age. An order is the path of
 * a field, with - before it from the greatest value to the least.
 * @typedef {{ label: string, filter: string, order: string }} Choice
 */

export const title = 'Gallery';

const PAGE_SIZE = 60; // images
const MAX_LABELS = 1000;

const allImages = () => el('option', { value: '' }, 'all images');
const oldestFirst = () => el('option', { value: '' }, 'oldest first');

class GalleryView {
  /**
   * @param {Choice} choice
   * @param {AbortSignal} signal
   */
  constructor(choice, signal) {
    this.signal = signal;
    this.choice = choice;
    /**
     * Where each page up to the shown one begins; undefined is the first image.
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
    this.loadFields = latest(signal, (own) => this.#loadFields(own));
    const onEdit = () => this.refresh();
    this.onEdit = onEdit;
    this.uploads = new UploadForm(signal, onEdit);
    this.duplicates = new DuplicatesPanel(signal, onEdit, () => this.#selection());
    this.select = el('select', { onchange: () => this.#choose({ label: this.select.value }) }, allImages());
    this.order = el('select', { onchange: () => this.#choose({ order: this.order.value }) }, oldestFirst());
    this.filter = new FilterInput(choice.filter, (filter) => this.#choose({ filter }));
    this.filtered = new FilteredImages(signal, onEdit);
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
        field('Order', this.order),
        el('div', { class: 'row' }, this.previousButton, this.nextButton),
      ),
      this.filter.element,
      this.summary,
      this.filtered.element,
      this.grid,
    ];
  }

  /** Loads everything that is shown again. */
  async refresh() {
    await Promise.all([this.loadLabels(), this.loadFields(), this.loadPage(this.cursors), this.duplicates.refresh()]);
  }

  /** @param {Partial<Choice>} choice */
  #choose(choice) {
    Object.assign(this.choice, choice);
    this.cursors = [undefined];
    this.next = null;
    return Promise.all([this.loadPage(this.cursors), this.duplicates.refresh()]);
  }

  /** @param {AbortSignal} signal */
  async #loadLabels(signal) {
    /** @type {{ labels: { label: string, images: number }[] }} */
    const { labels } = await ask(`/labels?limit=${MAX_LABELS}`, { signal });
    signal.throwIfAborted();
    const { label: chosen } = this.choice;
    const isKnown = labels.some(({ label }) => label === chosen);
    const all = isKnown || !chosen ? labels : [{ label: chosen, images: 0 }, ...labels];
    const options = all.map(({ label, images }) => el('option', { value: label }, `${label} (${count(images)})`));
    this.select.replaceChildren(allImages(), ...options);
    this.select.value = chosen;
    this.filter.offer({ labels: labels.map(({ label }) => label) });
  }

  /** @param {AbortSignal} signal */
  async #loadFields(signal) {
    const fields = await fetchFields(signal);
    signal.throwIfAborted();
    this.filter.offer({ fields });
    const orders = fields.filter(({ built }) => built).flatMap(({ path }) => [
      el('option', { value: path }, `${path}, ascending`),
      el('option', { value: `-${path}` }, `${path}, descending`),
    ]);
    this.order.replaceChildren(oldestFirst(), ...orders);
    this.order.value = this.choice.order;
  }

  /** The parameters that select images. */
  #selection() {
    const { label, filter } = this.choice;
    return new URLSearchParams({ ...label && { label }, ...filter && { filter } });
  }

  /**
   * @param {AbortSignal} signal
   * @param {(string | undefined)[]} cursors
   */
  async #loadPage(signal, cursors) {
    const selection = this.#selection();
    const address = new URLSearchParams(selection);
    if (this.choice.order) address.set('order_by', this.choice.order);
    const params = new URLSearchParams(address);
    params.set('limit', String(PAGE_SIZE));
    const cursor = cursors.at(-1);
    if (cursor) params.set('after', cursor);
    let problem;
    /** @type {{ images: Image[], total: number, next: string | null }} */
    const { images, total, next } = await ask(`/images?${params}`, { signal }).catch((error) => {
      if (!isFilterProblem(error)) throw error;
      problem = error;
      return { images: [], total: 0, next: null };
    });
    signal.throwIfAborted();
    this.filter.showProblem(problem);
    Object.assign(this, { cursors, next });
    this.previousButton.disabled = cursors.length === 1;
    this.nextButton.disabled = !next;
    const first = (cursors.length - 1) * PAGE_SIZE;
    const range = `${count(first + 1)} to ${count(first + images.length)} of ${plural(total, 'image')}`;
    const none = problem ? 'Correct the filter to see images.' : 'No images here yet.';
    this.summary.textContent = images.length ? range : none;
    this.filtered.show(selection, total);
    this.grid.replaceChildren(...images.map((image) => this.#tile(image)));
    history.replaceState(null, '', ['#gallery', address].filter(String).join('?'));
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
  const [label, filter, order] = ['label', 'filter', 'order_by'].map((name) => params.get(name) ?? '');
  const view = new GalleryView({ label, filter, order }, signal);
  main.append(el('h1', {}, 'Gallery'), ...view.elements);
  await view.refresh();
}
