// Makes elements. What a service says becomes text and never markup. Knows no service and no view.

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** An element with attributes, listeners (`onclick`, …) and children; whatever is null, undefined or false is left out. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same of a drawing. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

/** A field with its label and, if there is one, a line that explains it. */
export function field(label, input, explained) {
  const id = input.id || `field-${++field.made}`;
  input.id = id;
  if (explained) input.setAttribute('aria-describedby', `${id}-explained`);
  return el('div', { class: 'field' }, el('label', { for: id }, label), input, explained && el('small', { id: `${id}-explained` }, explained));
}
field.made = 0;

/** A range with its value beside its label. */
export function slider(label, attributes, changed) {
  const value = el('output', {}, attributes.value);
  const input = el('input', { type: 'range', ...attributes, oninput: () => { value.textContent = input.value; changed(); } });
  const whole = field([label, ' ', value], input);
  whole.set = (to) => { input.value = to; value.textContent = input.value; };
  Object.defineProperty(whole, 'value', { get: () => Number(input.value) });
  whole.input = input;
  return whole;
}

/** A dialog that is shown over the page until it is closed, and gone then. */
export function dialog(title, attributes, ...children) {
  const close = el('button', { type: 'button', class: 'close', 'aria-label': 'Close', onclick: () => shown.close() }, '×');
  const heading = el('h2', { id: 'dialog-title' }, title);
  const shown = el('dialog', { 'aria-labelledby': 'dialog-title', ...attributes }, el('div', { class: 'dialog-head' }, heading, close), ...children);
  shown.addEventListener('close', () => shown.remove());
  // Outside of it.
  shown.addEventListener('click', (event) => event.target === shown && shown.close());
  document.body.append(shown);
  shown.showModal();
  return shown;
}

/** Words, if there are any, at the edge of the page for a while, read out too. */
export function notice(text, kind = 'note') {
  if (!text) return;
  const shown = el('p', { class: `notice ${kind}` }, text);
  document.getElementById('notices').append(shown);
  setTimeout(() => shown.remove(), 8000);
}

/** A whole number with its thousands apart. */
export const count = (number) => number.toLocaleString('en');

/** "1 image", "2 images". */
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** A size in bytes for people. */
export function bytes(size) {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  const unit = Math.min(Math.floor(Math.log10(Math.max(size, 1)) / 3), 4);
  return `${unit ? (size / 1000 ** unit).toFixed(1) : size} ${units[unit]}`;
}

/** A moment for people. */
export const moment = (ms) => new Date(ms).toLocaleString();
