// The panel of fields: the members of payloads that filters can test. Declares and deletes them.
import { alertText, button, el, field, notice, wideTable } from './dom.js';
import { count } from './format.js';
import { latest } from './latest.js';
import { ask, messageOf } from './service.js';

/** @typedef {{ path: string, type: string, built: boolean, values: number, not_held: number }} FieldStatus */

const INTRODUCTION = 'A filter can test a member of payloads after it is declared as a field. A job then reads its ' +
  'values of all images. Values of another type pass no comparison; if there are many, the type may be wrong. ' +
  'To change a type, delete the field and declare it again.';
const HEADINGS = ['Field', 'Type', 'State', 'Values', 'Images with a value of another type', 'Actions'];
/** @type {Record<string, string>} */
const TYPES = {
  keyword: 'keyword: text, compared as a whole',
  integer: 'integer: whole numbers',
  number: 'number: any numbers',
  bool: 'bool: true or false',
  time: 'time: text such as 2026-01-31T12:00:00Z',
};
const CONFIRM_DELETE = 'Really delete?';

/** @param {string} path */
const fieldPath = (path) => `/admin/fields/${encodeURIComponent(path)}`;

export class FieldsPanel {
  /**
   * @param {AbortSignal} signal
   * @param {(id: string) => unknown} follow shows the job that builds a field
   */
  constructor(signal, follow) {
    this.follow = follow;
    this.load = latest(signal, (own) => this.#load(own));
    this.rows = el('tbody');
    this.table = wideTable('Fields', HEADINGS, this.rows);
    this.path = el('input', { autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', required: true });
    this.type = el('select', {}, Object.entries(TYPES).map(([value, text]) => el('option', { value }, text)));
    this.problem = alertText();
    const submit = (/** @type {Event} */ event) => {
      event.preventDefault();
      return this.#attempt(() => this.#declare());
    };
    this.element = el(
      'div',
      {},
      el('h2', {}, 'Fields'),
      el('p', {}, INTRODUCTION),
      this.table,
      el(
        'form',
        { class: 'bar', onsubmit: submit },
        field('Member of payloads', this.path, 'For a member within a member: size.width'),
        field('Type of its values', this.type),
        el('button', {}, 'Declare the field'),
      ),
      this.problem,
    );
  }

  /** @param {AbortSignal} signal */
  async #load(signal) {
    /** @type {{ fields: FieldStatus[] }} */
    const { fields } = await ask('/admin/fields', { signal });
    signal.throwIfAborted();
    this.table.hidden = fields.length === 0;
    this.rows.replaceChildren(...fields.map((one) => this.#row(one)));
  }

  /** @param {FieldStatus} status */
  #row({ path, type, built, values, not_held: notHeld }) {
    const remove = button('Delete', () => {
      if (remove.textContent === CONFIRM_DELETE) return this.#attempt(() => this.#delete(path));
      remove.textContent = CONFIRM_DELETE;
    }, { class: 'danger', 'aria-label': `Delete the field ${path}` });
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, el('code', {}, path)),
      el('td', {}, type),
      el('td', {}, built ? 'built' : 'being built'),
      el('td', {}, count(values)),
      el('td', {}, count(notHeld)),
      el('td', {}, remove),
    );
  }

  /**
   * Shows a refusal; loads the fields again also after one.
   * @param {() => Promise<unknown>} act
   */
  async #attempt(act) {
    this.problem.textContent = '';
    try {
      await act();
    } catch (error) {
      this.problem.textContent = messageOf(error);
    }
    await this.load();
  }

  async #declare() {
    const path = this.path.value.trim();
    const { built, job } = await ask(fieldPath(path), { method: 'PUT', json: { type: this.type.value } });
    this.path.value = '';
    if (built) notice(`Filters can test ${path} now.`);
    if (job) this.follow(job.id);
  }

  /** @param {string} path */
  async #delete(path) {
    await ask(fieldPath(path), { method: 'DELETE' });
    notice(`Deleted the field ${path}. Payloads are unchanged.`);
  }
}
