// What a search found: pictures in order of similarity, or in rings of equal distance. Knows a search's answer; not how it was asked for.
import { count, el, plural } from './dom.js';
import { likeness } from './likeness.js';
import { picture } from './picture.js';
import { open } from './record.js';
import { contentOf, words } from './service.js';

const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

function timing({ total, ...parts }) {
  const told = Object.entries(parts).filter(([, value]) => value > 0).map(([name, value]) => `${name} ${ms(value)}`);
  return `${ms(total)}${told.length ? ` (${told.join(', ')})` : ''}`;
}

function tile(match, context) {
  const { id, labels, code } = match;
  const text = labels.length ? labels.join(', ') : id;
  return el('li', {},
    el('button', { type: 'button', onclick: () => open(id, { ...context, match }) },
      picture(contentOf(id), `${text}, ${id}`),
      el('span', { class: 'caption' }, text),
      likeness(match) && el('span', { class: `caption alike ${match.relation ?? ''}` }, likeness(match)),
      el('code', { class: 'caption' }, code)));
}

/** The images of a search in a few words. */
function told({ radius, order, min_similarity: least }, total, shown) {
  const bounds = [radius !== null && `within ${plural(radius, 'bit')}`, least !== null && `of similarity ${least.toFixed(2)} or more`].filter(Boolean);
  if (bounds.length) return `${plural(total, 'image')} ${bounds.join(', ')}${shown < total ? `, ${shown} shown` : ''}`;
  return `The ${count(shown)} ${order === 'similarity' ? 'most alike' : 'nearest'} of ${plural(total, 'image')}`;
}

/** What the images of one distance, or all in order of similarity, stand under. */
function headingOf({ order }, { distance }) {
  if (order === 'similarity') return 'By similarity (1 is the most)';
  return distance === 0 ? 'The same code' : `${plural(distance, 'bit')} away`;
}

/**
 * Shows an answer in a place. `why` says why it is in that order, `more` asks for matches from an offset on, `wider` for a radius, `anyOf`
 * for images however alike, `changed` for the search again.
 */
export function results(place, answer, { subject, why, more, wider, anyOf, changed }) {
  const { query, total, matches } = answer;
  const context = { query, subject, changed };
  const rings = new Map();
  const sections = el('div', {});
  let shown = 0;

  function add(found) {
    for (const match of found) {
      const heading = headingOf(query, match);
      if (!rings.has(heading)) {
        const list = el('ul', { class: 'grid' });
        const counted = el('small', {});
        rings.set(heading, { list, counted });
        sections.append(el('section', { class: 'ring' }, el('h2', {}, heading, ' ', counted), list));
      }
      rings.get(heading).list.append(tile(match, context));
    }
    shown += found.length;
    for (const { list, counted } of rings.values()) counted.textContent = plural(list.children.length, 'image');
    summary.firstChild.textContent = told(query, total, shown);
    next.hidden = shown >= total || found.length === 0;
  }

  const summary = el('p', { class: 'summary', role: 'status' }, el('strong', {}, ''), ` · ${timing(answer.timing_ms)} · model ${query.model}`);
  const next = el('button', { type: 'button', onclick: async () => {
    next.disabled = true;
    try {
      add((await more(shown)).matches);
    } catch (error) {
      next.after(el('p', { class: 'problem', role: 'alert' }, words(error) ?? ''));
    }
    next.disabled = false;
  } }, 'Show more');
  add(matches);
  const far = query.radius !== null && query.radius < query.bits && Math.min(query.radius + 4, query.bits);
  const button = (text, onclick) => el('button', { type: 'button', onclick }, text);
  const nothing = total === 0 && el('p', { class: 'row' },
    query.min_similarity !== null ? ['No image is that alike.', button('Show the most alike', anyOf)]
      : query.radius !== null ? ['Nothing is that near.', far && button(`Look within ${plural(far, 'bit')}`, () => wider(far))] : 'There is no such image.');
  place.replaceChildren(...[summary, why && el('p', {}, why), nothing, sections, next].filter(Boolean));
}
