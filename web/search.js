// The search view: keeps the query, runs it when it changes, and shows the results.
import { alertText, button, el, onFiles } from './dom.js';
import { fetchFields, isFilterProblem } from './filter-input.js';
import { plural } from './format.js';
import { latest, pause } from './latest.js';
import { picture } from './picture.js';
import {
  addressOf,
  boxParameter,
  forModel,
  needsEncoding,
  readQuery,
  requestOf,
  withBox,
  withChanges,
} from './query.js';
import { openRecord } from './record.js';
import { showResults } from './results.js';
import { SearchForm } from './search-form.js';
import { ask, messageOf, originalPath, send } from './service.js';
import { shareDetails } from './share.js';

/** @typedef {import('./query.js').ActiveModel} ActiveModel */
/** @typedef {import('./query.js').Query} Query */
/** @typedef {import('./query.js').Subject} Subject */
/** @typedef {import('./service.js').SearchAnswer} SearchAnswer */

export const title = 'Search';

const INPUT_DELAY = 100; // ms, to search once while a slider moves
const MAX_OFFERED_IMAGES = 18;
const MAX_OFFERED_LABELS = 1000;

/**
 * @param {AbortSignal} signal
 * @returns {Promise<ActiveModel>}
 */
async function fetchActiveModel(signal) {
  const { lengths, model_id: id, model, thresholds } = await ask('/info', { signal });
  return { id, lengths, hasSketches: Boolean(model.sketch), thresholds };
}

/**
 * Returns a picture with its codes, and the timing.
 * Fetches a stored original first, to send it back: the service has no codes of its parts.
 * @param {Subject} subject a picture
 * @param {AbortSignal} signal
 */
async function encode(subject, signal) {
  const file = subject.file ?? await (await send(originalPath(subject.id ?? ''), { signal })).blob();
  const headers = { 'content-type': 'application/octet-stream' };
  const { codes, sketch, model, timing_ms: timing } = await ask(`/encode?${boxParameter(subject)}`, {
    method: 'POST',
    body: file,
    headers,
    signal,
  });
  return { encoded: { ...subject, file, codes, sketch, model }, timing };
}

/**
 * Returns why the results are ordered by distance although similarity could be expected, or ''.
 * @param {SearchAnswer} answer
 * @param {Subject} subject
 * @param {ActiveModel} active
 */
function orderNote({ query: { order, model: searched } }, { codes, sketch, model: made }, active) {
  if (order === 'similarity' || !codes) return '';
  if (made && made !== searched) {
    return `Ordered by distance. The address was made by model ${made}, ` +
      `but model ${searched} is active now, so distances mean little.`;
  }
  const isIncomplete = active.hasSketches && !sketch;
  return isIncomplete ? 'Ordered by distance, because the address has no sketch to compare images by.' : '';
}

class SearchView {
  /**
   * @param {ActiveModel} active
   * @param {Query} query
   * @param {AbortSignal} signal
   */
  constructor(active, query, signal) {
    this.active = active;
    this.query = query;
    this.signal = signal;
    this.search = latest(signal, (own, /** @type {number} */ delay = 0) => this.#search(own, delay));
    this.form = new SearchForm(query, active, {
      onChange: (changes) => this.change(changes, INPUT_DELAY),
      onFile: (file) => this.start({ file }),
      onBox: (box) => this.change({ subject: withBox(this.query.subject ?? {}, box) }, INPUT_DELAY),
      signal,
    });
    this.results = el('section', { class: 'found', 'aria-label': 'Results', 'aria-busy': 'false' });
    this.share = el('div');
    this.form.element.append(this.share);
    this.element = el('div', { class: 'search' }, this.form.element, this.results);
    onFiles(signal, ([file]) => this.start({ file }));
  }

  /**
   * Searches with another subject.
   * @param {Subject} subject
   */
  start(subject) {
    // A drop or a paste leaves the focus in the filter.
    this.form.filter.commit();
    const search = this.change({ subject });
    this.form.showSubject(this.query);
    return search;
  }

  /**
   * Changes the query and searches, if it has a subject.
   * @param {Partial<Query>} changes
   * @param {number} [delay] in ms
   */
  async change(changes, delay) {
    this.#setQuery(changes);
    if (this.query.subject) await this.search(delay);
  }

  /** @param {Partial<Query>} changes */
  #setQuery(changes) {
    this.query = withChanges(this.query, changes, this.active);
    this.form.showQuery(this.query, this.active);
  }

  /**
   * @param {AbortSignal} signal
   * @param {number} delay in ms
   */
  async #search(signal, delay) {
    if (delay > 0) await pause(delay, signal);
    this.results.setAttribute('aria-busy', 'true');
    try {
      this.#showAnswer(await this.#fetchAnswer(signal), signal);
    } catch (error) {
      signal.throwIfAborted();
      const isFilter = isFilterProblem(error);
      if (isFilter) this.form.filter.showProblem(error);
      this.results.replaceChildren(
        isFilter ? el('p', {}, 'Correct the filter to search.') : alertText(messageOf(error)),
      );
    }
    this.results.setAttribute('aria-busy', 'false');
  }

  /**
   * Fetches the response to the query. Asks once more if another model has become active.
   * @param {AbortSignal} signal
   */
  async #fetchAnswer(signal) {
    const first = await this.#encodeAndAsk(signal).catch((error) => {
      if (error.code !== 'other_model') throw error;
    });
    if (first?.query.model === this.active.id) return first;
    this.active = await fetchActiveModel(signal);
    this.form.showModel(this.active);
    this.#setQuery({ subject: forModel(this.query.subject ?? {}, this.active) });
    return await this.#encodeAndAsk(signal);
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<SearchAnswer>}
   */
  async #encodeAndAsk(signal) {
    let encoding;
    const { subject = {} } = this.query;
    if (needsEncoding(subject)) {
      const { encoded, timing } = await encode(subject, signal);
      signal.throwIfAborted();
      this.#setQuery({ subject: encoded });
      encoding = timing;
    }
    const { path, json } = requestOf(this.query, this.active);
    const answer = await ask(path, { json, signal });
    signal.throwIfAborted();
    const { timing_ms: timing } = answer;
    if (encoding) Object.assign(timing, encoding, { total: encoding.total + timing.total });
    return answer;
  }

  /**
   * @param {SearchAnswer} answer
   * @param {AbortSignal} signal of the search, which also ends the requests for more of its results
   */
  #showAnswer(answer, signal) {
    const { query, active } = this;
    const { subject = {} } = query;
    const { path, json } = requestOf(query, active);
    this.form.filter.showProblem();
    history.replaceState(null, '', addressOf(query));
    showResults(this.results, answer, {
      note: orderNote(answer, subject, active),
      loadMore: (offset) => ask(`${path}&offset=${offset}`, { json, signal }),
      onOpen: (match) =>
        openRecord(match.id, {
          onEdit: () => this.search(),
          signal: this.signal,
          comparison: { query: answer.query, subject, match },
        }),
      onRadius: (radius) => this.change({ radius }),
      onAnyRelation: () => this.change({ relation: '' }),
      signal,
    });
    this.share.replaceChildren(shareDetails(query, active));
  }

  /** Offers stored images to start with, until there is a subject. */
  async offerImages() {
    /** @type {{ images: import('./service.js').Image[], total: number }} */
    const { images, total } = await ask(`/images?limit=${MAX_OFFERED_IMAGES}`, { signal: this.signal });
    if (this.query.subject) return;
    if (total === 0) {
      const gallery = el('a', { href: '#gallery' }, 'Add images');
      this.results.append(el('p', {}, 'No images are stored yet. ', gallery, ' first.'));
      return;
    }
    const tiles = images.map(({ id }) => {
      const image = picture(originalPath(id), '', this.signal);
      return el('li', {}, button(image, () => this.start({ id }), { 'aria-label': `Search with ${id}` }));
    });
    this.results.append(
      el('h2', {}, `Or start with one of ${plural(total, 'stored image')}`),
      el('ul', { class: 'grid' }, tiles),
    );
  }

  async offerLabels() {
    /** @type {{ labels: { label: string }[] }} */
    const { labels } = await ask(`/labels?limit=${MAX_OFFERED_LABELS}`, { signal: this.signal });
    this.form.offerLabels(labels.map(({ label }) => label));
  }

  async offerFields() {
    this.form.filter.offer({ fields: await fetchFields(this.signal) });
  }
}

/**
 * @param {HTMLElement} main
 * @param {URLSearchParams} params
 * @param {AbortSignal} signal
 */
export async function show(main, params, signal) {
  const active = await fetchActiveModel(signal);
  const query = readQuery(params, active);
  const view = new SearchView(active, query, signal);
  main.append(el('h1', {}, 'Search'), view.element);
  // Labels and filters can be typed without this help.
  view.offerLabels().catch(() => {});
  view.offerFields();
  await (query.subject ? view.start(query.subject) : view.offerImages());
}
