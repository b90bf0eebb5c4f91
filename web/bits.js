// Codes as patterns: every bit a cell, those that differ marked. Knows hexadecimal digits and nothing of images.
import { el } from './dom.js';

const bitsOf = (code) => [...code].flatMap((digit) => [8, 4, 2, 1].map((bit) => (parseInt(digit, 16) & bit) !== 0));

/** The numbers, from 1, of the bits in which two codes differ. */
export function differing(code, other) {
  const others = bitsOf(other);
  return bitsOf(code).flatMap((bit, at) => (bit === others[at] ? [] : [at + 1]));
}

/** A code as cells, eight a group; of another code, with the bits marked that differ from it. */
export function fingerprint(code, other) {
  const marked = new Set(other ? differing(code, other) : []);
  const cell = (bit, at) => el('i', { class: `${bit ? 'one' : 'zero'}${marked.has(at + 1) ? ' differs' : ''}` });
  const said = marked.size ? `, differs in ${marked.size === 1 ? 'bit' : 'bits'} ${[...marked].join(', ')}` : '';
  const cells = bitsOf(code).map(cell);
  const groups = Array.from({ length: cells.length / 8 }, (_, at) => el('span', {}, cells.slice(at * 8, at * 8 + 8)));
  return el('span', { class: 'code', role: 'img', 'aria-label': `code ${code}${said}` }, el('code', {}, code), el('span', { class: 'bits' }, groups));
}
