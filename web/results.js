// Shows the results of a search: in order of similarity, or grouped by distance.
import { alertText, button, el } from './dom.js';
import { count, plural, similarityText } from './format.js';
import { picture } from './picture.js';
import { messageOf, originalPath } from './service.js';

/** @typedef {import('./service.js').Match} Match */
/** @typedef {import('./service.js').SearchAnswer} SearchAnswer */
/** @typedef {import('./service.js').SearchedQuery} SearchedQuery */
/**
 * What the results need of the view: a note on their order, the signal of the search,
 * and actions for what the user may ask for next.
 * @typedef {{
 *   note: string, signal: AbortSignal,
 *   loadMore: (offset: number) => Promise<SearchAnswer>, onOpen: (match: Match) => unknown,
 *   onRadius: (radius: number) => unknown, onAnyRelation: () => unknown,
 * }} Context
 */

const RADIUS_STEP = 4; // bits

/** @param {number} ms */
const duration = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

/** @param {Record<string, number>} timing */
function timingText({ total, ...parts }) {
  const taken = Object.entries(parts).filter(([, ms]) => ms > 0).map(([name, ms]) => `${name} ${duration(ms)}`);
  return `${duration(total)}${taken.length ? ` (${taken.join(', ')})` : ''}`;
}

/**
 * Returns how many images match, and which of them are shown.
 * @param {SearchedQuery} query
 * @param {number} total
 * @param {number} shown
 */
function countText({ radius, order, min_similarity: minSimilarity }, total, shown) {
  const bounds = [
    radius !== null && `within ${plural(radius, 'bit')}`,
    minSimilarity !== null && `with a similarity of at least ${minSimilarity.toFixed(2)}`,
  ].filter(Boolean);
  if (bounds.length) return `${plural(total, 'image')} ${bounds.join(', ')}${shown < total ? `, ${shown} shown` : ''}`;
  return `The ${count(shown)} ${order === 'similarity' ? 'most similar' : 'nearest'} of ${plural(total, 'image')}`;
}

/**
 * Returns the heading of a match's group.
 * @param {SearchedQuery} query
 * @param {Match} match
 */
function headingOf({ order }, { distance }) {
  if (order === 'similarity') return 'By similarity (1 is the highest)';
  return distance === 0 ? 'The same code' : `${plural(distance, 'bit')} away`;
}

class ResultList {
  /**
   * @param {SearchAnswer} answer
   * @param {Context} context
   */
  constructor({ query, total, matches, timing_ms: timing }, context) {
    this.query = query;
    this.total = total;
    this.context = context;
    this.shown = 0;
    /** @type {Map<string, { list: HTMLUListElement, size: HTMLElement }>} by heading */
    this.groups = new Map();
    this.count = el('strong');
    this.summary = el(
      'p',
      { class: 'summary', role: 'status' },
      this.count,
      ` · ${timingText(timing)} · model ${query.model}`,
    );
    this.sections = el('div');
    this.more = button('Show more', () => this.#loadMore());
    this.problem = alertText();
    this.#add(matches);
  }

  /** @param {Match[]} matches */
  #add(matches) {
    for (const match of matches) this.#groupOf(match).list.append(this.#tile(match));
    this.shown += matches.length;
    for (const { list, size } of this.groups.values()) size.textContent = plural(list.children.length, 'image');
    this.count.textContent = countText(this.query, this.total, this.shown);
    this.more.hidden = this.shown >= this.total || matches.length === 0;
  }

  /** @param {Match} match */
  #groupOf(match) {
    const heading = headingOf(this.query, match);
    const known = this.groups.get(heading);
    if (known) return known;
    const group = { list: el('ul', { class: 'grid' }), size: el('small') };
    this.groups.set(heading, group);
    this.sections.append(el('section', { class: 'ring' }, el('h2', {}, heading, ' ', group.size), group.list));
    return group;
  }

  /** @param {Match} match */
  #tile(match) {
    const { id, labels, code, relation } = match;
    const { onOpen, signal } = this.context;
    const text = labels.length ? labels.join(', ') : id;
    const similarity = similarityText(match);
    const content = [
      picture(originalPath(id), `${text}, ${id}`, signal),
      el('span', { class: 'caption' }, text),
      similarity && el('span', { class: `caption similarity ${relation ?? ''}` }, similarity),
      el('code', { class: 'caption' }, code),
    ];
    return el('li', {}, button(content, () => onOpen(match)));
  }

  async #loadMore() {
    this.more.disabled = true;
    this.problem.remove();
    try {
      this.#add((await this.context.loadMore(this.shown)).matches);
    } catch (error) {
      this.problem.textContent = messageOf(error);
      this.more.after(this.problem);
    }
    this.more.disabled = false;
  }
}

/**
 * Creates the text for a search without results, with a button that searches more widely.
 * @param {SearchedQuery} query
 * @param {Context} context
 */
function noResults({ radius, bits, min_similarity: minSimilarity }, { onRadius, onAnyRelation }) {
  if (minSimilarity !== null) {
    return el('p', { class: 'row' }, 'No image is that similar.', button('Show the most similar', onAnyRelation));
  }
  if (radius === null) return el('p', {}, 'No image matches.');
  const wider = Math.min(radius + RADIUS_STEP, bits);
  const widen = wider > radius && button(`Search within ${plural(wider, 'bit')}`, () => onRadius(wider));
  return el('p', { class: 'row' }, 'No image is that near.', widen);
}

/**
 * Replaces the content of an element by the results of a search.
 * @param {HTMLElement} place
 * @param {SearchAnswer} answer
 * @param {Context} context
 */
export function showResults(place, answer, context) {
  const list = new ResultList(answer, context);
  const note = context.note ? [el('p', {}, context.note)] : [];
  const none = answer.total === 0 ? [noResults(answer.query, context)] : [];
  place.replaceChildren(list.summary, ...note, ...none, list.sections, list.more);
}
