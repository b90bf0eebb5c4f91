// Shows codes as patterns: a cell for each bit, with the bits marked in which two codes differ.
import { el } from './dom.js';

/** @param {string} code */
const bitsOf = (code) => [...code].flatMap((digit) => [8, 4, 2, 1].map((bit) => (parseInt(digit, 16) & bit) !== 0));

/**
 * Returns the numbers, from 1, of the bits in which two codes of one length differ.
 * @param {string} code in hexadecimal digits
 * @param {string} other
 */
export function differingBits(code, other) {
  const otherBits = bitsOf(other);
  return bitsOf(code).flatMap((bit, at) => (bit === otherBits[at] ? [] : [at + 1]));
}

/**
 * Creates the pattern of a code in groups of eight cells. Marks the bits that differ from `other`.
 * @param {string} code
 * @param {string} [other]
 */
export function codePattern(code, other) {
  const differing = new Set(other ? differingBits(code, other) : []);
  const cells = bitsOf(code).map((bit, at) =>
    el('i', { class: `${bit ? 'one' : 'zero'}${differing.has(at + 1) ? ' differs' : ''}` })
  );
  const groups = Array.from({ length: cells.length / 8 }, (_, at) => el('span', {}, cells.slice(at * 8, at * 8 + 8)));
  const difference = differing.size
    ? `, differs in ${differing.size === 1 ? 'bit' : 'bits'} ${[...differing].join(', ')}`
    : '';
  return el(
    'span',
    { class: 'code', role: 'img', 'aria-label': `code ${code}${difference}` },
    el('code', {}, code),
    el('span', { class: 'bits' }, groups),
  );
}
