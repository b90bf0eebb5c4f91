// What models are worth, by what was measured of them, and two of them side by side. Knows the two forms a card tells quality in.
import { el, plural } from './dom.js';

/** What was measured of a model, by bits, and on how many queries; none where nothing was. */
export function quality({ card }) {
  const { quality: told } = card;
  if (told?.after?.all) return { of: told.after.all, queries: told.queries };
  if (told?.quality) return { of: told.quality, queries: told.queries };
  return undefined;
}

/** What was measured of a model that knows no classes, in words. */
export function copies({ card }) {
  const { quality: told } = card;
  const rows = Object.values(told?.copies?.copies ?? {});
  const first = told?.after?.copies_first ?? (rows.length ? rows.reduce((sum, row) => sum + row.first, 0) / rows.length : undefined);
  return first === undefined ? 'not measured' : `copies that come first: ${first.toFixed(3)}`;
}

/** Both, on the same queries where one of them was trained from the other and measured beside it. */
function both(first, second) {
  for (const [child, parent] of [[first, second], [second, first]]) {
    const { quality: told } = child.card;
    if (child.parent !== parent.id || !told?.before?.all) continue;
    const of = { [child.id]: { of: told.after.all, queries: told.queries }, [parent.id]: { of: told.before.all, queries: told.queries } };
    return { first: of[first.id], second: of[second.id], same: true };
  }
  return { first: quality(first), second: quality(second), same: false };
}

const MEASURES = { map: 'MAP', precision_radius_2: 'precision within radius 2' };

export function comparison(first, second) {
  const { first: one, second: other, same } = both(first, second);
  if (!one || !other) return el('p', { class: 'problem' }, `Of ${(one ? second : first).id} nothing was measured; \`scihcgrl evaluate --record\` does.`);
  const rows = Object.keys(one.of).filter((bits) => other.of[bits]).flatMap((bits) => Object.entries(MEASURES).map(([name, said]) => {
    const [a, b] = [one.of[bits][name], other.of[bits][name]];
    const better = b - a;
    const change = el('td', { class: better > 0 ? 'good' : better < 0 ? 'problem' : '' }, `${better > 0 ? '▲ +' : better < 0 ? '▼ −' : '±'}${Math.abs(better).toFixed(3)}`);
    return el('tr', {}, el('th', { scope: 'row' }, `${said}, ${bits} bits`), el('td', {}, a.toFixed(3)), el('td', {}, b.toFixed(3)), change);
  }));
  const on = same ? `Both were measured on the same ${plural(one.queries, 'query', 'queries')}.` : `They were measured on ${one.queries} and ${other.queries} queries of different sets, so take the difference with care.`;
  const head = ['', first.id, second.id, 'change'];
  return el('section', { class: 'comparison' }, el('h2', {}, 'Compared'), el('p', {}, on), el('table', {}, el('thead', {}, el('tr', {}, head.map((name) => el('th', { scope: 'col' }, name)))), el('tbody', {}, rows)));
}
