// Shows a part of a picture, and lets the user choose one with a mouse, pen, finger or sliders.
import { button, el, Slider, svg } from './dom.js';
import { percent } from './format.js';

/** @typedef {number[]} Box x, y, width and height as shares of the picture's sides, 0 to 1 */

/** @type {Box} */
const WHOLE = [0, 0, 1, 1];
// Share of a side. A smaller drawing is taken for a slip of the hand.
const MIN_SIDE = 0.05;

/** @param {Box} box */
const isWhole = (box) => box.every((share, at) => share === WHOLE[at]);

/** A picture that is darkened outside of a box. */
export class FramedPicture {
  /**
   * @param {HTMLElement} image
   * @param {Box} [box]
   */
  constructor(image, box) {
    this.shade = svg('path', { class: 'shade', 'fill-rule': 'evenodd' });
    this.edge = svg('rect', { class: 'edge' });
    this.overlay = svg(
      'svg',
      { viewBox: '0 0 1 1', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      this.shade,
      this.edge,
    );
    this.element = el('div', { class: 'framed' }, image, this.overlay);
    this.show(box);
  }

  /** @param {Box} [box] the whole picture if undefined */
  show(box) {
    const [x, y, width, height] = box ?? WHOLE;
    this.shade.setAttribute('d', `M0 0H1V1H0Z M${x} ${y}h${width}v${height}h${-width}Z`);
    for (const [name, value] of Object.entries({ x, y, width, height })) this.edge.setAttribute(name, String(value));
    this.overlay.classList.toggle('whole', !box);
  }
}

/**
 * Returns the box with two points as opposite corners.
 * @param {number[]} from
 * @param {number[]} to
 * @returns {Box}
 */
function boxBetween(from, to) {
  // Rounds corners instead of sizes, so that rounding does not push an edge out of the picture.
  const corner = (/** @type {(a: number, b: number) => number} */ pick) =>
    from.map((share, axis) => Number(pick(share, to[axis]).toFixed(3)));
  const [start, end] = [corner(Math.min), corner(Math.max)];
  return [...start, ...end.map((share, axis) => Number((share - start[axis]).toFixed(3)))];
}

/** A picture on which the user chooses a box. */
export class BoxPicker {
  /**
   * @param {HTMLElement} image
   * @param {Box | undefined} box
   * @param {(box: Box | undefined) => void} onChange gets undefined for the whole picture
   */
  constructor(image, box, onChange) {
    this.box = box;
    this.onChange = onChange;
    this.frame = new FramedPicture(image, box);
    this.sliders = ['Left', 'Top', 'Width', 'Height'].map((name, at) => {
      const [min, max] = at < 2 ? [0, 100 - 100 * MIN_SIDE] : [100 * MIN_SIDE, 100];
      return new Slider(`${name}, %`, { min, max, value: percent((box ?? WHOLE)[at]) }, () => this.#chooseBySlider(at));
    });
    const summary = el('summary', {}, 'Set the part with sliders');
    this.clear = button('Use the whole picture', () => {
      this.#choose(WHOLE);
      summary.focus();
    }, { hidden: !box });
    this.#listenToPointer();
    this.element = el(
      'div',
      {},
      this.frame.element,
      el('p', { class: 'quiet' }, 'Draw on the picture to search with a part of it.'),
      this.clear,
      el('details', {}, summary, this.sliders.map((slider) => slider.element)),
    );
  }

  /** @param {Box} box */
  #choose(box) {
    this.box = isWhole(box) ? undefined : box;
    this.sliders.forEach((slider, at) => {
      slider.value = percent(box[at]);
    });
    this.clear.hidden = !this.box;
    this.frame.show(this.box);
    this.onChange(this.box);
  }

  /** @param {number} moved which slider */
  #chooseBySlider(moved) {
    const percents = this.sliders.map((slider) => slider.value);
    // Adjusts the other slider of the moved one's axis if the box would leave the picture.
    for (const axis of [0, 1]) {
      const excess = Math.max(percents[axis] + percents[axis + 2] - 100, 0);
      percents[moved === axis ? axis + 2 : axis] -= excess;
    }
    this.#choose(percents.map((one) => one / 100));
  }

  #listenToPointer() {
    const { frame } = this;
    /** @type {number[] | undefined} */
    let from;
    const pointOf = (/** @type {PointerEvent} */ { clientX, clientY }) => {
      const { left, top, width, height } = frame.overlay.getBoundingClientRect();
      return [(clientX - left) / width, (clientY - top) / height].map((share) => Math.min(Math.max(share, 0), 1));
    };
    frame.overlay.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      from = pointOf(event);
      frame.overlay.setPointerCapture(event.pointerId);
    });
    frame.overlay.addEventListener('pointermove', (event) => from && frame.show(boxBetween(from, pointOf(event))));
    frame.overlay.addEventListener('pointercancel', () => {
      from = undefined;
      frame.show(this.box);
    });
    frame.overlay.addEventListener('pointerup', (event) => {
      if (!from) return;
      const box = boxBetween(from, pointOf(event));
      from = undefined;
      if (Math.min(box[2], box[3]) < MIN_SIDE) frame.show(this.box);
      else this.#choose(box);
    });
  }
}
