// A part of a picture, as the service takes it: x, y, width and height in shares of 1. Shown on the picture, drawn there with a mouse, pen or
// finger, or set with sliders. Knows nothing of searches.
import { el, slider, svg } from './dom.js';

const WHOLE = [0, 0, 1, 1];
// Of a side. What is drawn smaller was a slip of the hand.
const LEAST = 0.05;

/** A picture of which all but a part is darkened; `show` shows another part, or none. */
export function framed(image, box) {
  const shade = svg('path', { class: 'shade', 'fill-rule': 'evenodd' });
  const edge = svg('rect', { class: 'edge' });
  const over = svg('svg', { viewBox: '0 0 1 1', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, shade, edge);
  const whole = el('div', { class: 'framed' }, image, over);
  whole.over = over;
  whole.show = (part) => {
    const [x, y, width, height] = part ?? WHOLE;
    shade.setAttribute('d', `M0 0H1V1H0Z M${x} ${y}h${width}v${height}h${-width}Z`);
    for (const [name, value] of Object.entries({ x, y, width, height })) edge.setAttribute(name, value);
    over.classList.toggle('whole', !part);
  };
  whole.show(box);
  return whole;
}

/** The same to choose the part; `changed` hears of it, and of none where the whole picture is chosen. */
export function boxed(image, box, changed) {
  const frame = framed(image, box);
  const sliders = ['Left', 'Top', 'Width', 'Height'].map((name, at) =>
    slider(`${name}, %`, { min: at < 2 ? 0 : 100 * LEAST, max: at < 2 ? 100 - 100 * LEAST : 100, value: Math.round(100 * (box ?? WHOLE)[at]) }, () => slid(at)));
  const summary = el('summary', {}, 'Set the part with sliders');
  const clear = el('button', { type: 'button', hidden: !box, onclick: () => { choose(WHOLE); summary.focus(); } }, 'Use the whole picture');

  function choose(part) {
    box = part.every((share, at) => share === WHOLE[at]) ? undefined : part;
    part.forEach((share, at) => sliders[at].set(Math.round(100 * share)));
    clear.hidden = !box;
    frame.show(box);
    changed(box);
  }

  function slid(moved) {
    const percent = sliders.map((one) => one.value);
    // The slider that is moved stays where it was put; where the part would leave the picture, the other one of its axis gives way.
    for (const axis of [0, 1]) {
      const beyond = Math.max(percent[axis] + percent[axis + 2] - 100, 0);
      percent[moved === axis ? axis + 2 : axis] -= beyond;
    }
    choose(percent.map((one) => one / 100));
  }

  const at = ({ clientX, clientY }) => {
    const { left, top, width, height } = frame.over.getBoundingClientRect();
    return [(clientX - left) / width, (clientY - top) / height].map((share) => Math.min(Math.max(share, 0), 1));
  };
  const between = (from, to) => {
    // Corners are rounded, not sizes, so that rounding does not push an edge out of the picture.
    const [starts, ends] = [Math.min, Math.max].map((pick) => from.map((share, axis) => Number(pick(share, to[axis]).toFixed(3))));
    return [...starts, ...ends.map((end, axis) => Number((end - starts[axis]).toFixed(3)))];
  };
  let from;
  frame.over.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return;
    from = at(event);
    frame.over.setPointerCapture(event.pointerId);
  });
  frame.over.addEventListener('pointermove', (event) => from && frame.show(between(from, at(event))));
  frame.over.addEventListener('pointercancel', () => { from = undefined; frame.show(box); });
  frame.over.addEventListener('pointerup', (event) => {
    if (!from) return;
    const part = between(from, at(event));
    from = undefined;
    if (Math.min(part[2], part[3]) < LEAST) frame.show(box);
    else choose(part);
  });

  return el('div', {}, frame, el('p', { class: 'quiet' }, 'Draw on the picture to search with a part of it.'), clear, el('details', {}, summary, sliders));
}
