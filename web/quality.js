// States the measured quality of models, and compares two of them.
// A card has `quality` in one of three forms: `before` and `after` training, `quality` by length,
// or `copies` found.
import { el, table } from './dom.js';
import { plural } from './format.js';

/** @typedef {import('./service.js').Model} Model */
/** @typedef {Record<string, Record<string, number>>} ByLength */
/**
 * @typedef {{
 *   all?: ByLength, copies_first?: number, copies_first_ten?: number, agreement?: number,
 * }} Measurement
 */

/** Figures of each length. */
const LENGTH_FIGURES = { map: 'MAP', precision_radius_2: 'precision within radius 2' };
/** Figures that need no classes. */
const COPY_FIGURES = {
  copies_first: 'copies found first',
  copies_first_ten: 'copies among the first ten',
  agreement: 'nearest by features found',
};

/** @param {number[]} values */
const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : undefined);

/**
 * Returns the share of copies that come first, the mean over all changes of pictures, or undefined.
 * @param {any} quality of a card
 */
function copiesFirst({ after, copies }) {
  const rows = /** @type {{ first: number }[]} */ (Object.values(copies?.copies ?? {}));
  return after?.copies_first ?? mean(rows.map(({ first }) => first));
}

/**
 * Returns a model's measurement and its number of queries, or undefined if nothing was measured.
 * @param {Model} model
 * @returns {{ measurement: Measurement, queries: number } | undefined}
 */
function measured({ card: { quality } }) {
  if (quality?.after) return { measurement: quality.after, queries: quality.queries };
  if (quality?.quality) return { measurement: { all: quality.quality }, queries: quality.queries };
  if (quality?.copies) return { measurement: { copies_first: copiesFirst(quality) }, queries: quality.copies.copied };
  return undefined;
}

/**
 * Returns the measured quality of a model's codes by length, or undefined.
 * @param {Model} model
 */
export const qualityByLength = (model) => measured(model)?.measurement.all;

/**
 * Returns the measured quality of a model that has no classes.
 * @param {Model} model
 */
export function copiesText({ card }) {
  const share = copiesFirst(card.quality ?? {});
  return share === undefined ? 'not measured' : `${COPY_FIGURES.copies_first}: ${share.toFixed(3)}`;
}

/**
 * Returns how two measurements differ, in the figures that the second has.
 * @param {Measurement} before
 * @param {Measurement} after
 */
export function changeText(before, after) {
  const meanMap = (/** @type {Measurement} */ { all }) => mean(Object.values(all ?? {}).map(({ map }) => map));
  const rows = [
    { name: 'mean MAP', from: meanMap(before), to: meanMap(after) },
    ...copyFigures(before).map(([name, from], at) => ({ name, from, to: copyFigures(after)[at][1] })),
  ];
  const changes = rows.map(({ name, from, to }) =>
    to !== undefined && `${name} ${from?.toFixed(3) ?? '–'} → ${to.toFixed(3)}`
  );
  return changes.filter(Boolean).join(', ');
}

/**
 * @param {Measurement} measurement
 * @returns {[string, number | undefined][]} names and values
 */
const copyFigures = ({ copies_first: first, copies_first_ten: firstTen, agreement }) => [
  [COPY_FIGURES.copies_first, first],
  [COPY_FIGURES.copies_first_ten, firstTen],
  [COPY_FIGURES.agreement, agreement],
];

/**
 * Returns the figures of a measurement by name.
 * @param {Measurement} measurement
 * @returns {Map<string, number>}
 */
function figuresOf(measurement) {
  const ofLength = Object.entries(measurement.all ?? {}).flatMap(([bits, values]) =>
    Object.entries(LENGTH_FIGURES).map(([key, name]) => [`${name}, ${bits} bits`, values[key]])
  );
  const all = /** @type {[string, number][]} */ ([...ofLength, ...copyFigures(measurement)]);
  return new Map(all.filter(([, value]) => value !== undefined));
}

/**
 * Returns the measurements of two models. If one was trained from the other, training measured both
 * on the same queries; their number is returned then.
 * @param {Model} first
 * @param {Model} second
 * @returns {{ measurements: (Measurement | undefined)[], queries?: number }}
 */
function measuredTogether(first, second) {
  for (const [child, parent] of [[first, second], [second, first]]) {
    const { quality } = child.card;
    if (child.parent !== parent.id || !quality?.before) continue;
    const { before, after, queries } = quality;
    return { measurements: child === first ? [after, before] : [before, after], queries };
  }
  return { measurements: [first, second].map((model) => measured(model)?.measurement) };
}

/**
 * @param {string} name
 * @param {number} first
 * @param {number} second
 */
function comparisonRow(name, first, second) {
  const change = second - first;
  const [kind, sign] = change > 0 ? ['good', '▲ +'] : change < 0 ? ['problem', '▼ −'] : ['', '±'];
  return el(
    'tr',
    {},
    el('th', { scope: 'row' }, name),
    el('td', {}, first.toFixed(3)),
    el('td', {}, second.toFixed(3)),
    el('td', { class: kind }, `${sign}${Math.abs(change).toFixed(3)}`),
  );
}

/**
 * Creates the comparison of two models by the figures that both have.
 * @param {Model} first
 * @param {Model} second
 */
export function comparison(first, second) {
  const { measurements: [ofFirst, ofSecond], queries } = measuredTogether(first, second);
  const problem = (/** @type {string} */ text) => el('p', { class: 'problem' }, text);
  if (!ofFirst || !ofSecond) {
    const { id } = ofFirst ? second : first;
    return problem(`Model ${id} has no measured quality; \`scihcgrl evaluate --record\` measures it.`);
  }
  const figuresOfSecond = figuresOf(ofSecond);
  const rows = [...figuresOf(ofFirst)].flatMap(([name, value]) => {
    const other = figuresOfSecond.get(name);
    return other === undefined ? [] : [comparisonRow(name, value, other)];
  });
  if (rows.length === 0) return problem('The models have no measured figure in common.');
  const sameQueries = `Both were measured on the same ${plural(queries ?? 0, 'query', 'queries')}.`;
  const sizes = [first, second].map((model) => measured(model)?.queries).join(' and ');
  const otherQueries = `The models were measured on different sets of ${sizes} queries, so treat the change with care.`;
  return el(
    'section',
    { class: 'comparison' },
    el('h2', {}, 'Comparison'),
    el('p', {}, queries ? sameQueries : otherQueries),
    table(['', first.id, second.id, 'change'], el('tbody', {}, rows)),
  );
}
