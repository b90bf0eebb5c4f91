// The input of a filter: suggests how to continue while the user types (a combobox as WAI-ARIA has
// it), and shows what the service says is wrong with the filter.
import { el, field } from './dom.js';
import { suggest } from './filter-suggestions.js';
import { ask, messageOf, Problem } from './service.js';

/** @typedef {import('./filter-suggestions.js').Field} Field */

const HINT = 'For example: labels = "cat" AND NOT price < 50';
const CODES = ['invalid_filter', 'undeclared_field', 'field_not_built', 'too_many_keywords'];
const MAX_BYTES = 8192; // of openapi.yaml, in a query
// Of the list of suggestions, in pixels.
const [MIN_HEIGHT, MAX_HEIGHT, MIN_WIDTH, MAX_WIDTH, GAP] = [160, 280, 300, 460, 4];
const SHOWN_BEFORE = 24; // characters of the filter before the one that is wrong

/**
 * Returns true if a filter is the reason for an error.
 * @param {unknown} error
 */
export const isFilterProblem = (error) =>
  error instanceof Problem && CODES.includes(error.code) && error.message.startsWith('the filter');

/**
 * Returns the fields that filters can test, none if they cannot be read: filters work without help.
 * @param {AbortSignal} signal
 * @returns {Promise<Field[]>}
 */
export const fetchFields = (signal) => ask('/fields', { signal }).then(({ fields }) => fields, () => []);

/**
 * Splits a filter at a column: what stands before it, what is wrong there, and the rest.
 * @param {string} text
 * @param {number} column in characters from 1
 */
function splitAt(text, column) {
  const before = [...text].slice(0, column - 1).join('');
  const [wrong] = /^(?:"[^"]*"?|'[^']*'?|[^\s()[\],"']+|\S)?/u.exec(text.slice(before.length)) ?? [''];
  return [before, wrong, text.slice(before.length + wrong.length)];
}

export class FilterInput {
  /**
   * @param {string} value
   * @param {(filter: string) => unknown} onChange runs when the user is done with a change
   */
  constructor(value, onChange) {
    this.value = value;
    this.onChange = onChange;
    /** @type {import('./filter-suggestions.js').Known} */
    this.known = { fields: [], labels: [] };
    this.from = 0;
    /** @type {import('./filter-suggestions.js').Suggestion[]} */
    this.suggestions = [];
    this.active = -1;
    this.opened = new AbortController();
    this.list = el('ul', {
      id: 'suggestions',
      class: 'suggestions',
      role: 'listbox',
      'aria-label': 'Suggestions',
      hidden: true,
      // The input keeps the focus.
      onmousedown: (/** @type {Event} */ event) => event.preventDefault(),
    });
    this.input = el('input', {
      role: 'combobox',
      'aria-autocomplete': 'list',
      'aria-expanded': 'false',
      'aria-controls': this.list.id,
      autocomplete: 'off',
      autocapitalize: 'off',
      spellcheck: 'false',
      enterkeyhint: 'search',
      maxlength: MAX_BYTES,
      value,
      oninput: () => this.#open(),
      onclick: () => this.#open(),
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.#onKey(event),
      onblur: () => this.commit(),
    });
    this.problem = el('div', { id: 'filter-problem', class: 'problem', role: 'alert', hidden: true });
    this.element = field('Filter', this.input, HINT);
    this.description = this.input.getAttribute('aria-describedby');
    this.element.append(this.list, this.problem);
  }

  /** @param {Partial<import('./filter-suggestions.js').Known>} known */
  offer(known) {
    Object.assign(this.known, known);
  }

  /**
   * Shows what is wrong with the filter, or that nothing is.
   * @param {unknown} [error]
   */
  showProblem(error) {
    const { input, value } = this;
    const message = error === undefined ? '' : messageOf(error);
    input.setAttribute('aria-invalid', String(Boolean(message)));
    input.setAttribute('aria-describedby', `${this.description}${message ? ` ${this.problem.id}` : ''}`);
    this.problem.hidden = !message;
    this.problem.replaceChildren(message);
    const column = Number(/ at column (\d+):/.exec(message)?.[1]);
    if (!column) return;
    const [before, wrong, rest] = splitAt(value, column);
    const start = before.length > SHOWN_BEFORE ? `…${before.slice(-SHOWN_BEFORE)}` : before;
    // The message has the column; this shows it.
    this.problem.append(el('code', { 'aria-hidden': 'true' }, start, el('mark', {}, wrong || '\u00a0'), rest));
    this.problem.scrollIntoView({ block: 'nearest' });
    if (document.activeElement === input && input.value === value) {
      input.setSelectionRange(before.length, before.length + wrong.length);
    }
  }

  /**
   * Takes what the user has typed, if it is not taken yet.
   * @param {boolean} [isRetry] also takes the same filter again
   */
  commit(isRetry = false) {
    this.#close();
    const value = this.input.value.trim() && this.input.value;
    if (value === this.value && !isRetry) return;
    this.value = value;
    this.showProblem();
    this.onChange(value);
  }

  #open() {
    const { input } = this;
    const caret = input.selectionEnd ?? input.value.length;
    Object.assign(this, suggest(input.value.slice(0, caret), this.known));
    if (this.suggestions.length === 0) return this.#close();
    const options = this.suggestions.map(({ text, hint }, at) =>
      el(
        'li',
        { role: 'option', id: `suggestion-${at}`, 'aria-selected': 'false', onclick: () => this.#accept(at) },
        el('span', {}, text),
        el('small', {}, hint),
      )
    );
    this.list.replaceChildren(...options);
    this.list.hidden = false;
    input.setAttribute('aria-expanded', 'true');
    this.#activate(-1);
    this.list.scrollTop = 0;
    this.#place();
    this.opened.abort();
    this.opened = new AbortController();
    const { signal } = this.opened;
    addEventListener('scroll', () => this.#place(), { capture: true, passive: true, signal });
    for (const target of [globalThis, visualViewport]) {
      target?.addEventListener('resize', () => this.#place(), { signal });
    }
  }

  #close() {
    this.opened.abort();
    this.list.hidden = true;
    this.input.setAttribute('aria-expanded', 'false');
    this.#activate(-1);
  }

  /** Puts the list above or below the input, wherever a screen keyboard leaves more room. */
  #place() {
    const { left, top, bottom, width } = this.input.getBoundingClientRect();
    const { offsetTop, height } = visualViewport ?? { offsetTop: 0, height: innerHeight };
    const [above, below] = [top - offsetTop, offsetTop + height - bottom];
    const isBelow = below >= MIN_HEIGHT || below >= above;
    Object.assign(this.list.style, {
      left: `${left}px`,
      width: `${Math.min(Math.max(width, MIN_WIDTH), MAX_WIDTH, document.documentElement.clientWidth - left - GAP)}px`,
      maxHeight: `${Math.min(MAX_HEIGHT, (isBelow ? below : above) - 2 * GAP)}px`,
      top: isBelow ? `${bottom + GAP}px` : 'auto',
      bottom: isBelow ? 'auto' : `${innerHeight - top + GAP}px`,
    });
  }

  /** @param {number} at the suggestion to mark, -1 for none */
  #activate(at) {
    this.list.children[this.active]?.setAttribute('aria-selected', 'false');
    this.active = at;
    const option = this.list.children[at];
    option?.setAttribute('aria-selected', 'true');
    option?.scrollIntoView({ block: 'nearest' });
    if (option) this.input.setAttribute('aria-activedescendant', option.id);
    else this.input.removeAttribute('aria-activedescendant');
  }

  /** @param {number} at the suggestion to take; offers what can follow it */
  #accept(at) {
    const { input, from } = this;
    const caret = input.selectionEnd ?? input.value.length;
    const { insert } = this.suggestions[at];
    const isSpaced = insert.endsWith(' ') && input.value[caret] === ' ';
    input.setRangeText(insert, from, isSpaced ? caret + 1 : caret, 'end');
    this.#open();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.isComposing) return;
    const count = this.list.hidden ? 0 : this.suggestions.length;
    switch (event.key) {
      case 'ArrowDown':
      case 'ArrowUp':
        if (count === 0) this.#open();
        else {
          // The input itself is between the last suggestion and the first.
          const next = this.active + (event.key === 'ArrowDown' ? 1 : -1);
          this.#activate(next < -1 ? count - 1 : next === count ? -1 : next);
        }
        break;
      case 'Enter':
        if (this.active >= 0) this.#accept(this.active);
        else this.commit(!this.problem.hidden);
        break;
      case 'Escape':
        if (count === 0) return;
        this.#close();
        break;
      default:
        return;
    }
    event.preventDefault();
  }
}
