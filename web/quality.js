// What models are worth, by what was measured of them, and two of them side by side. Knows the forms a card tells quality in.
import { el, plural } from './dom.js';

const BY_BITS = { map: 'MAP', precision_radius_2: 'precision within radius 2' };
const OF_COPIES = { copies_first: 'copies found first', copies_first_ten: 'copies among the first ten', agreement: 'nearest by features found' };

/** The share of copies that come first, over all changes; none where it was not measured. */
function first({ after, copies }) {
  const rows = Object.values(copies?.copies ?? {});
  return after?.copies_first ?? (rows.length ? rows.reduce((sum, row) => sum + row.first, 0) / rows.length : undefined);
}

/** What was measured of a model, and on how many queries; none where nothing was. */
function measured({ card: { quality: told } }) {
  if (told?.after) return { of: told.after, queries: told.queries };
  if (told?.quality) return { of: { all: told.quality }, queries: told.queries };
  if (told?.copies) return { of: { copies_first: first(told) }, queries: told.copies.copied };
  return undefined;
}

/** What was measured of a model's codes, by bits; none where nothing was. */
export const quality = (model) => measured(model)?.of.all;

/** What was measured of a model that knows no classes, in words. */
export function copies({ card }) {
  const share = first(card.quality ?? {});
  return share === undefined ? 'not measured' : `copies found first: ${share.toFixed(3)}`;
}

/** What two measurements say that can be compared, in words. */
export function change(before, after) {
  const mean = ({ all }) => {
    const maps = Object.values(all ?? {}).map(({ map }) => map);
    return maps.length ? maps.reduce((sum, map) => sum + map, 0) / maps.length : undefined;
  };
  const told = [['mean MAP', mean(before), mean(after)], ...Object.entries(OF_COPIES).map(([name, said]) => [said, before[name], after[name]])];
  return told.filter(([, , now]) => now !== undefined).map(([said, then, now]) => `${said} ${then?.toFixed(3) ?? '–'} → ${now.toFixed(3)}`).join(', ');
}

/** The figures of a measurement by what they are called. */
function figures(of) {
  const byBits = Object.entries(of.all ?? {}).flatMap(([bits, one]) => Object.entries(BY_BITS).map(([name, said]) => [`${said}, ${bits} bits`, one[name]]));
  const ofCopies = Object.entries(OF_COPIES).map(([name, said]) => [said, of[name]]);
  return new Map([...byBits, ...ofCopies].filter(([, figure]) => figure !== undefined));
}

/** What was measured of both, and whether on the same queries: where one of them was trained from the other and measured beside it. */
function both(first, second) {
  for (const [child, parent] of [[first, second], [second, first]]) {
    const { quality: told } = child.card;
    if (child.parent !== parent.id || !told?.before) continue;
    const of = { [child.id]: told.after, [parent.id]: told.before };
    return { first: of[first.id], second: of[second.id], queries: told.queries };
  }
  return { first: measured(first)?.of, second: measured(second)?.of };
}

export function comparison(first, second) {
  const { first: one, second: other, queries } = both(first, second);
  if (!one || !other) return el('p', { class: 'problem' }, `Of ${(one ? second : first).id} nothing was measured; \`scihcgrl evaluate --record\` does.`);
  const [figuresOfOne, figuresOfOther] = [figures(one), figures(other)];
  const rows = [...figuresOfOne].filter(([said]) => figuresOfOther.has(said)).map(([said, a]) => {
    const b = figuresOfOther.get(said);
    const better = b - a;
    const changed = el('td', { class: better > 0 ? 'good' : better < 0 ? 'problem' : '' }, `${better > 0 ? '▲ +' : better < 0 ? '▼ −' : '±'}${Math.abs(better).toFixed(3)}`);
    return el('tr', {}, el('th', { scope: 'row' }, said), el('td', {}, a.toFixed(3)), el('td', {}, b.toFixed(3)), changed);
  });
  if (rows.length === 0) return el('p', { class: 'problem' }, 'Different things were measured of them, so they cannot be compared.');
  const on = queries ? `Both were measured on the same ${plural(queries, 'query', 'queries')}.` : `They were measured on ${measured(first).queries} and ${measured(second).queries} queries of different sets, so take the difference with care.`;
  const head = ['', first.id, second.id, 'change'];
  return el('section', { class: 'comparison' }, el('h2', {}, 'Compared'), el('p', {}, on), el('table', {}, el('thead', {}, el('tr', {}, head.map((name) => el('th', { scope: 'col' }, name)))), el('tbody', {}, rows)));
}
