// Curves of what a training tells as it goes on: loss, reward and validation MAP. Knows numbers over time; not whose they are.
import { el, svg } from './dom.js';

const [WIDTH, HEIGHT, EDGE] = [300, 120, 8];
// Room for the least and the most value.
const LEFT = 44;
const LENGTHS = ['24', '32', '48'];

/** A drawing of named lines; all share one scale of values, and time goes by events. */
function chart(title, names) {
  const lines = new Map(names.map((name, at) => [name, { points: [], drawn: svg('polyline', { class: `line-${at}`, fill: 'none' }) }]));
  const [top, bottom] = [svg('text', { x: 2, y: 10 }), svg('text', { x: 2, y: HEIGHT - 2 })];
  const drawing = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img' }, [...lines.values()].map((line) => line.drawn), top, bottom);
  const latest = el('figcaption', {}, title);
  let at = 0;

  function draw() {
    const all = [...lines.values()].flatMap((line) => line.points);
    const [least, most] = [Math.min(...all.map((point) => point[1])), Math.max(...all.map((point) => point[1]))];
    const [first, last] = [Math.min(...all.map((point) => point[0])), Math.max(...all.map((point) => point[0]))];
    const x = (when) => LEFT + ((when - first) / (last - first || 1)) * (WIDTH - LEFT - EDGE);
    const y = (value) => HEIGHT - EDGE - ((value - least) / (most - least || 1)) * (HEIGHT - 2 * EDGE);
    for (const { points, drawn } of lines.values()) {
      // One point alone would not be seen.
      const shown = points.length === 1 ? [[first - 1, points[0][1]], ...points] : points;
      drawn.setAttribute('points', shown.map(([when, value]) => `${x(Math.max(when, first)).toFixed(1)},${y(value).toFixed(1)}`).join(' '));
    }
    [top.textContent, bottom.textContent] = [most.toPrecision(3), least.toPrecision(3)];
    const now = [...lines].filter(([, line]) => line.points.length).map(([name, line]) => `${name ? `${name} bits ` : ''}${line.points.at(-1)[1].toPrecision(3)}`);
    latest.textContent = `${title}: ${now.join(', ')}`;
    drawing.setAttribute('aria-label', `${latest.textContent}, of ${all.length} points`);
  }

  function add(values) {
    const given = Object.entries(values).filter(([name, value]) => lines.has(name) && Number.isFinite(value));
    if (given.length === 0) return;
    at += 1;
    figure.hidden = false;
    for (const [name, value] of given) lines.get(name).points.push([at, value]);
    draw();
  }

  const figure = el('figure', { hidden: true }, drawing, latest);
  return { element: figure, add };
}

/** The three charts, each of which is shown once there is something in it, and what adds an event's numbers to them. */
export function curves() {
  const [loss, reward, map] = [chart('Loss', ['']), chart('Reward', ['']), chart('Validation MAP', LENGTHS)];
  return {
    element: el('div', { class: 'curves' }, loss.element, reward.element, map.element),
    add(data) {
      loss.add({ '': data.loss });
      reward.add({ '': data.reward });
      map.add(Object.fromEntries(Object.entries(data.map ?? {}).map(([bits, measured]) => [bits, measured.map])));
    },
  };
}
