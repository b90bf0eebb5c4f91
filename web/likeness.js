// How alike two images are, in words. Knows a match as a search answers it.

const RELATIONS = { copy: 'Copy', kin: 'Same kind' };
/** The relations that a search may ask for, the loosest first. */
export const AT_LEAST = { '': 'Any', kin: 'Same kind or copy', copy: 'Copy' };

/** "Copy · 0.99", "0.43"; nothing if the two were not compared. */
export function likeness({ similarity, relation }) {
  if (similarity === null) return '';
  return [RELATIONS[relation], similarity.toFixed(2)].filter(Boolean).join(' · ');
}
