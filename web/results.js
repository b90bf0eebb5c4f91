// What a search found: pictures in rings of equal distance, the nearest first. Knows a search's answer; not how it was asked for.
import { el, plural } from './dom.js';
import { picture } from './picture.js';
import { open } from './record.js';
import { words } from './service.js';

const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

function timing({ total, ...parts }) {
  const told = Object.entries(parts).filter(([, value]) => value > 0).map(([name, value]) => `${name} ${ms(value)}`);
  return `${ms(total)}${told.length ? ` (${told.join(', ')})` : ''}`;
}

function tile(match, context) {
  const { id, labels, code, content_url: url } = match;
  const text = labels.length ? labels.join(', ') : id;
  return el('li', {},
    el('button', { type: 'button', onclick: () => open(id, { ...context, match }) },
      picture(url, `${text}, ${id}`),
      el('span', { class: 'caption' }, text),
      el('code', { class: 'caption' }, code)));
}

/** Shows an answer in a place. `more` asks for matches from an offset on, `wider` for a radius, `changed` for the search again. */
export function results(place, answer, { subject, more, wider, changed }) {
  const { query, total, matches } = answer;
  const context = { query, subject, changed };
  const rings = new Map();
  const sections = el('div', {});
  let shown = 0;

  function add(found) {
    for (const match of found) {
      if (!rings.has(match.distance)) {
        const list = el('ul', { class: 'grid' });
        const counted = el('small', {});
        const heading = match.distance === 0 ? 'The same code' : `${plural(match.distance, 'bit')} away`;
        rings.set(match.distance, { list, counted });
        sections.append(el('section', { class: 'ring' }, el('h2', {}, heading, ' ', counted), list));
      }
      rings.get(match.distance).list.append(tile(match, context));
    }
    shown += found.length;
    for (const { list, counted } of rings.values()) counted.textContent = plural(list.children.length, 'image');
    summary.firstChild.textContent = `${plural(total, 'image')} within ${plural(query.radius, 'bit')}${shown < total ? `, ${shown} shown` : ''}`;
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
  const nothing = total === 0 && el('p', {}, 'Nothing is that near. ', query.radius < query.bits && el('button', { type: 'button', onclick: () => wider(Math.min(query.radius + 4, query.bits)) }, `Look within ${plural(Math.min(query.radius + 4, query.bits), 'bit')}`));
  place.replaceChildren(...[summary, nothing, sections, next].filter(Boolean));
}
