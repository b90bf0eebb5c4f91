// Formats numbers, sizes, times and similarities as text.

/** @type {Record<string, string>} */
const RELATION_NAMES = { copy: 'Copy', kin: 'Same kind' };

/**
 * Returns an integer with its thousands separated.
 * @param {number} number
 */
export const count = (number) => number.toLocaleString('en');

/**
 * Returns "1 image" or "2 images".
 * @param {number} number
 * @param {string} one
 * @param {string} [many]
 */
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/**
 * Returns a number of bytes in a unit of suitable size.
 * @param {number} bytes
 */
export function byteSize(bytes) {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  const unit = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), units.length - 1);
  return `${unit ? (bytes / 1000 ** unit).toFixed(1) : bytes} ${units[unit]}`;
}

/**
 * Returns a moment in local time.
 * @param {number} ms since 1970
 */
export const localTime = (ms) => new Date(ms).toLocaleString();

/**
 * Returns a share from 0 to 1 as whole percent.
 * @param {number} share
 */
export const percent = (share) => Math.round(100 * share);

/**
 * Returns a match's relation and similarity, "Copy · 0.99" or "0.43".
 * Returns '' if it was not compared.
 * @param {{ similarity: number | null, relation: string | null }} match
 */
export function similarityText({ similarity, relation }) {
  if (similarity === null) return '';
  return [relation && RELATION_NAMES[relation], similarity.toFixed(2)].filter(Boolean).join(' · ');
}

/**
 * Returns the distinct labels of a text that separates them by commas.
 * @param {string} text
 */
export const splitLabels = (text) => [...new Set(text.split(',').map((label) => label.trim()).filter(Boolean))];
