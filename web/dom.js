// Creates elements and the controls that several views share.
// Text from the service becomes text nodes, never markup.

/** @typedef {Node | string | number | boolean | null | undefined} Content */
/** @typedef {Content | (Content | (Content | Content[])[])[]} Child arrays are flattened */
/** @typedef {Record<string, any>} Attributes attributes, and listeners such as `onclick` */

const NOTICE_DURATION = 8000; // ms
let fieldCount = 0;

/** @param {unknown} value */
const isGiven = (value) => value !== undefined && value !== null && value !== false;

/**
 * @template {Element} Target
 * @param {Target} node
 * @param {Attributes} attributes
 * @param {Child[]} children
 */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (isGiven(value)) node.setAttribute(name, value === true ? '' : value);
  }
  node.append(.../** @type {any[]} */ (children).flat(Infinity).filter(isGiven));
  return node;
}

/**
 * Creates an HTML element. Leaves out attributes and children that are null, undefined or false.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * Creates an SVG element, by the rules of `el`.
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes]
 * @param {...Child} children
 */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

/**
 * Creates a button that does not submit a form.
 * @param {Child} text
 * @param {(event: Event) => unknown} onclick
 * @param {Attributes} [attributes]
 */
export const button = (text, onclick, attributes = {}) =>
  el('button', { type: 'button', onclick, ...attributes }, text);

/**
 * Creates a paragraph that states a problem; screen readers announce it at once.
 * @param {Child} [text]
 */
export const alertText = (text) => el('p', { class: 'problem', role: 'alert' }, text);

/**
 * Creates a field: an input with its label and an optional hint.
 * @param {Child} label
 * @param {HTMLElement} input
 * @param {string} [hint]
 */
export function field(label, input, hint) {
  input.id ||= `field-${++fieldCount}`;
  const hintId = `${input.id}-hint`;
  if (hint) input.setAttribute('aria-describedby', hintId);
  return el(
    'div',
    { class: 'field' },
    el('label', { for: input.id }, label),
    input,
    hint && el('small', { id: hintId }, hint),
  );
}

/** A field for a number in a range, with its value next to its label. */
export class Slider {
  /**
   * @param {string} label
   * @param {{ min: number, max: number, step?: number, value: number }} range
   * @param {() => void} onInput runs when the user moves the slider
   */
  constructor(label, range, onInput) {
    this.output = el('output', {}, range.value);
    this.input = el('input', {
      type: 'range',
      ...range,
      oninput: () => {
        this.#showValue();
        onInput();
      },
    });
    this.element = field([label, ' ', this.output], this.input);
  }

  get value() {
    return Number(this.input.value);
  }

  /** The input clamps the value to its range. */
  set value(value) {
    this.input.value = String(value);
    this.#showValue();
  }

  /** @param {number} max */
  setMax(max) {
    this.input.max = String(max);
    this.#showValue();
  }

  #showValue() {
    this.output.textContent = this.input.value;
  }
}

/**
 * Creates a table with column headings.
 * @param {string[]} headings
 * @param {HTMLTableSectionElement} body
 */
export function table(headings, body) {
  const cells = headings.map((heading) => el('th', { scope: 'col' }, heading));
  return el('table', {}, el('thead', {}, el('tr', {}, cells)), body);
}

/**
 * Creates a table that scrolls sideways in a named region.
 * @param {string} name
 * @param {string[]} headings
 * @param {HTMLTableSectionElement} body
 */
export const wideTable = (name, headings, body) =>
  el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': name }, table(headings, body));

/**
 * Shows a modal dialog; closing it removes it.
 * @param {string} title
 * @param {Attributes} attributes
 * @param {...Child} children
 */
export function dialog(title, attributes, ...children) {
  const close = button('×', () => shown.close(), { class: 'close', 'aria-label': 'Close' });
  const head = el('div', { class: 'dialog-head' }, el('h2', { id: 'dialog-title' }, title), close);
  const shown = el('dialog', { 'aria-labelledby': 'dialog-title', ...attributes }, head, ...children);
  shown.addEventListener('close', () => shown.remove());
  // A click on the backdrop has the dialog itself as its target.
  shown.addEventListener('click', (event) => event.target === shown && shown.close());
  document.body.append(shown);
  shown.showModal();
  return shown;
}

/**
 * Shows a text at the edge of the page for some seconds; screen readers announce it.
 * Ignores an empty text.
 * @param {string} text
 * @param {'note' | 'problem'} [kind]
 */
export function notice(text, kind = 'note') {
  if (!text) return;
  const shown = el('p', { class: `notice ${kind}` }, text);
  document.getElementById('notices')?.append(shown);
  setTimeout(() => shown.remove(), NOTICE_DURATION);
}

/**
 * Calls `take` with the files that the user drops on the page or pastes, until `signal` aborts.
 * @param {AbortSignal} signal
 * @param {(files: File[]) => unknown} take
 */
export function onFiles(signal, take) {
  /** @param {DataTransfer | null} data */
  const takeFrom = (data) => data?.files.length && take([...data.files]);
  addEventListener('drop', (event) => takeFrom(event.dataTransfer), { signal });
  addEventListener('paste', (event) => takeFrom(event.clipboardData), { signal });
}
