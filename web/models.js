// The models view: the registry, with each model's state and quality, and two models compared.
// The fields of payloads and the jobs show themselves.
import { button, el, notice, wideTable } from './dom.js';
import { FieldsPanel } from './fields.js';
import { byteSize, localTime } from './format.js';
import { JobsPanel } from './jobs.js';
import { latest } from './latest.js';
import { comparison, copiesText, qualityByLength } from './quality.js';
import { ask } from './service.js';

/** @typedef {import('./service.js').Model} Model */

export const title = 'Models';

const HEADINGS = ['Compare', 'Model', 'State', 'Trained from', 'Created', 'Quality', 'Size', 'Actions'];
/** @type {Record<string, string>} */
const STATE_HINTS = {
  active: 'answers searches',
  standby: 'has codes of all images',
  encoding: 'its codes are being made',
  stored: 'has no codes',
};

class ModelsView {
  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = signal;
    /** @type {Model[]} */
    this.models = [];
    /** @type {string[]} ids of the models to compare, at most two */
    this.chosen = [];
    this.load = latest(signal, (own) => this.#load(own));
    this.rows = el('tbody');
    this.comparison = el('div', { 'aria-live': 'polite' });
    this.jobs = new JobsPanel(signal, async () => {
      await Promise.all([this.load(), this.fields.load()]);
    });
    this.fields = new FieldsPanel(signal, (id) => {
      this.jobs.follow(id);
    });
    const table = wideTable('Models', HEADINGS, this.rows);
    this.elements = [table, this.comparison, this.fields.element, this.jobs.element];
  }

  /** @param {AbortSignal} signal */
  async #load(signal) {
    const { models } = await ask('/admin/models', { signal });
    signal.throwIfAborted();
    this.models = models;
    this.rows.replaceChildren(...this.models.map((model) => this.#row(model)));
    this.#showComparison();
  }

  #showComparison() {
    const [first, second] = this.models.filter(({ id }) => this.chosen.includes(id));
    this.comparison.replaceChildren(...second ? [comparison(first, second)] : []);
  }

  /** @param {Model} model */
  #row(model) {
    const { id, state, parent, created_at_ms: created, bytes } = model;
    const isDeleted = parent && !this.models.some((one) => one.id === parent);
    return el(
      'tr',
      { class: state },
      el('td', {}, this.#checkbox(id)),
      el('th', { scope: 'row' }, el('code', {}, id)),
      el('td', {}, el('strong', {}, state), el('br'), el('small', {}, STATE_HINTS[state])),
      el('td', {}, parent ? el('code', {}, parent) : '–', isDeleted && el('small', {}, ' (deleted)')),
      el('td', {}, localTime(created)),
      el('td', {}, this.#quality(model)),
      el('td', {}, byteSize(bytes)),
      el('td', {}, el('div', { class: 'actions' }, this.#actions(model))),
    );
  }

  /** @param {string} id */
  #checkbox(id) {
    const input = el('input', {
      type: 'checkbox',
      value: id,
      checked: this.chosen.includes(id),
      'aria-label': `Compare ${id}`,
      onchange: () => this.#choose(id, input.checked),
    });
    return input;
  }

  /**
   * Adds a model to the comparison or removes it. A third one replaces the first.
   * @param {string} id
   * @param {boolean} isChosen
   */
  #choose(id, isChosen) {
    const others = this.chosen.filter((one) => one !== id);
    this.chosen = isChosen ? [...others.slice(-1), id] : others;
    for (const input of this.rows.querySelectorAll('input')) input.checked = this.chosen.includes(input.value);
    this.#showComparison();
  }

  /** @param {Model} model */
  #quality(model) {
    const byLength = qualityByLength(model);
    if (!byLength) return copiesText(model);
    const lines = Object.entries(byLength).map(([bits, { map }]) => el('div', {}, `${bits}: ${map.toFixed(3)}`));
    return [el('small', {}, 'MAP by bits'), lines];
  }

  /** @param {Model} model */
  #actions({ id, state }) {
    const action = (/** @type {string} */ text, /** @type {() => Promise<unknown>} */ act, kind = '') =>
      button(text, () => this.#act(act), { class: kind, 'aria-label': `${text}: ${id}` });
    const canActivate = state === 'standby' || state === 'stored';
    return [
      canActivate && action('Activate', () => this.#activate(id)),
      state === 'standby' && action('Delete codes', () => ask(`/admin/models/${id}/codes`, { method: 'DELETE' })),
      state === 'stored' && action('Delete', () => ask(`/admin/models/${id}`, { method: 'DELETE' }), 'danger'),
    ];
  }

  /**
   * Loads the models again after an action, also after one that failed.
   * @param {() => Promise<unknown>} act
   */
  async #act(act) {
    try {
      await act();
    } finally {
      if (!this.signal.aborted) await this.load();
    }
  }

  /** @param {string} id */
  async #activate(id) {
    const { state, job } = await ask(`/admin/models/${id}/activate`, { method: 'POST' });
    if (state === 'active') notice(`Model ${id} is active now.`);
    if (job && !this.signal.aborted) this.jobs.follow(job.id);
  }
}

/**
 * @param {HTMLElement} main
 * @param {URLSearchParams} _params
 * @param {AbortSignal} signal
 */
export async function show(main, _params, signal) {
  const view = new ModelsView(signal);
  main.append(el('h1', {}, 'Models'), ...view.elements);
  await Promise.all([view.load(), view.fields.load()]);
  await view.jobs.start();
}
