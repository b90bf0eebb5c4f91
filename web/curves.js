// Draws the curves of a training while it runs: loss, reward and validation MAP.
import { el, svg } from './dom.js';

// In units of the drawing.
const [WIDTH, HEIGHT, MARGIN] = [300, 120, 8];
// Has room for the lowest and the highest value.
const LEFT_MARGIN = 44;
const LENGTHS = ['24', '32', '48'];

/** @typedef {[number, number]} Point time and value */

/** @param {number[]} values */
const rangeOf = (values) => ({ min: Math.min(...values), max: Math.max(...values) });

/** A drawing of named lines over the number of updates. It is hidden until it has a point. */
class Chart {
  /**
   * @param {string} title
   * @param {string[]} names
   */
  constructor(title, names) {
    this.title = title;
    this.time = 0;
    this.lines = names.map((name, at) => ({
      name,
      points: /** @type {Point[]} */ ([]),
      drawing: svg('polyline', { class: `line-${at}`, fill: 'none' }),
    }));
    this.top = svg('text', { x: 2, y: 10 });
    this.bottom = svg('text', { x: 2, y: HEIGHT - 2 });
    const drawings = this.lines.map(({ drawing }) => drawing);
    this.drawing = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img' }, drawings, this.top, this.bottom);
    this.caption = el('figcaption', {}, title);
    this.element = el('figure', { hidden: true }, this.drawing, this.caption);
  }

  /**
   * Adds a point to each line that has a value.
   * @param {Record<string, number | undefined>} values by name
   */
  add(values) {
    const given = this.lines.filter(({ name }) => Number.isFinite(values[name]));
    if (given.length === 0) return;
    this.time += 1;
    for (const { name, points } of given) points.push([this.time, Number(values[name])]);
    this.element.hidden = false;
    this.#draw();
  }

  #draw() {
    const all = this.lines.flatMap(({ points }) => points);
    const time = rangeOf(all.map(([when]) => when));
    const values = rangeOf(all.map(([, value]) => value));
    const x = (/** @type {number} */ when) =>
      LEFT_MARGIN + ((when - time.min) / (time.max - time.min || 1)) * (WIDTH - LEFT_MARGIN - MARGIN);
    const y = (/** @type {number} */ value) =>
      HEIGHT - MARGIN - ((value - values.min) / (values.max - values.min || 1)) * (HEIGHT - 2 * MARGIN);
    for (const { points, drawing } of this.lines) {
      // A line of one point would be invisible, so it is drawn with a second one before it.
      const drawn = points.length === 1 ? [[time.min - 1, points[0][1]], ...points] : points;
      const coordinates = drawn.map(([when, value]) =>
        `${x(Math.max(when, time.min)).toFixed(1)},${y(value).toFixed(1)}`
      );
      drawing.setAttribute('points', coordinates.join(' '));
    }
    this.top.textContent = values.max.toPrecision(3);
    this.bottom.textContent = values.min.toPrecision(3);
    const current = this.lines.filter(({ points }) => points.length).map(({ name, points }) =>
      `${name && `${name} bits `}${points[points.length - 1][1].toPrecision(3)}`
    );
    this.caption.textContent = `${this.title}: ${current.join(', ')}`;
    this.drawing.setAttribute('aria-label', `${this.caption.textContent}, of ${all.length} points`);
  }
}

/** The charts of one training. */
export class CurveCharts {
  constructor() {
    this.loss = new Chart('Loss', ['']);
    this.reward = new Chart('Reward', ['']);
    this.map = new Chart('Validation MAP', LENGTHS);
    this.element = el('div', { class: 'curves' }, this.loss.element, this.reward.element, this.map.element);
  }

  /**
   * Adds the figures of a job's progress event.
   * @param {{ loss?: number, reward?: number, map?: Record<string, { map: number }> }} progress
   */
  add({ loss, reward, map }) {
    this.loss.add({ '': loss });
    this.reward.add({ '': reward });
    this.map.add(Object.fromEntries(Object.entries(map ?? {}).map(([bits, measured]) => [bits, measured.map])));
  }
}
