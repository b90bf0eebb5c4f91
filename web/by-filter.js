// Deletes or changes all images that pass the gallery's filter. Counts them first, starts a job that
// expects this count, and follows it.
import { alertText, button, dialog, el, field } from './dom.js';
import { plural, splitLabels } from './format.js';
import { jobSection, showJob } from './jobs.js';
import { latest } from './latest.js';
import { ask, messageOf } from './service.js';

/**
 * What a form does with the images: `json` returns the changes that its controls hold.
 * @typedef {{ verb: string, method: string, note: string, fields: HTMLElement[], json?: () => unknown }} Action
 */

/** @returns {Action} */
const deletion = () => ({ verb: 'Delete', method: 'DELETE', note: 'This cannot be undone.', fields: [] });

/** @returns {Action} */
function change() {
  const [added, removed, payload] = Array.from({ length: 3 }, () => el('input', { autocomplete: 'off' }));
  return {
    verb: 'Change',
    method: 'PATCH',
    note: 'Labels and payloads that are not named stay as they are.',
    fields: [
      field('Labels to add', added, 'Separated by commas.'),
      field('Labels to remove', removed),
      field('Members of the payload', payload, 'As JSON, for example {"price": 19.9}; null removes a member.'),
    ],
    json: () => ({
      ...added.value.trim() && { add_labels: splitLabels(added.value) },
      ...removed.value.trim() && { remove_labels: splitLabels(removed.value) },
      ...payload.value.trim() && { payload: parsed(payload.value) },
    }),
  };
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new SyntaxError('the payload is not JSON; write members such as {"price": 19.9}');
  }
}

export class FilteredImages {
  /**
   * @param {AbortSignal} signal
   * @param {() => unknown} onEdit runs when a job is finished
   */
  constructor(signal, onEdit) {
    this.signal = signal;
    this.onEdit = onEdit;
    this.selection = new URLSearchParams();
    this.follow = latest(signal, async (own, /** @type {string} */ id) => {
      await showJob(this.job, id, own);
      await this.onEdit();
    });
    this.change = button('', () => this.#open(change()));
    this.delete = button('', () => this.#open(deletion()), { class: 'danger' });
    this.actions = el('div', { class: 'actions', hidden: true }, this.change, this.delete);
    this.job = jobSection();
    this.element = el('div', { class: 'filtered' }, this.actions, this.job);
  }

  /**
   * Offers the actions if a filter selects images.
   * @param {URLSearchParams} selection the filter, and the label if there is one
   * @param {number} total the number of images that pass
   */
  show(selection, total) {
    this.selection = selection;
    this.actions.hidden = total === 0 || !selection.has('filter');
    this.change.textContent = `Change the ${plural(total, 'image')} that pass…`;
    this.delete.textContent = `Delete the ${plural(total, 'image')} that pass…`;
  }

  /** @param {Action} action */
  async #open({ verb, method, note, fields, json }) {
    const { selection, signal } = this;
    // A dry run of a deletion counts the images, for both actions.
    const { count } = await ask(`/images?${selection}&dry_run=true`, { method: 'DELETE', signal });
    const images = plural(count, 'image');
    const problem = alertText();
    const start = el('button', { class: verb === 'Delete' ? 'danger' : 'primary' }, `${verb} ${images}`);
    const submit = async (/** @type {Event} */ event) => {
      event.preventDefault();
      start.disabled = true;
      try {
        const { id } = await ask(`/images?${selection}&expect=${count}`, { method, json: json?.(), signal });
        shown.close();
        this.follow(id);
      } catch (error) {
        problem.textContent = error instanceof SyntaxError ? error.message : messageOf(error);
        start.disabled = false;
      }
    };
    const label = selection.get('label');
    const shown = dialog(
      `${verb} ${images}?`,
      { class: 'form' },
      el(
        'p',
        {},
        'The images pass the filter ',
        el('code', {}, selection.get('filter')),
        label && ` and have the label ${label}`,
        `. ${note}`,
      ),
      el('form', { onsubmit: submit }, fields, problem, el('div', { class: 'actions' }, start)),
    );
  }
}
