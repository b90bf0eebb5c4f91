// The status view: current load, the index, how images share codes, and the active model.
// Refreshes while it is shown.
import { alertText, el, svg } from './dom.js';
import { byteSize, count, plural } from './format.js';
import { pause } from './latest.js';
import { Metrics } from './metrics.js';
import { ask, messageOf, send } from './service.js';

/** @typedef {{ time: number, metrics: Metrics }} Reading time in ms */
/**
 * Codes that `from` to `2 * from - 1` images share.
 * @typedef {{ from: number, codes: number, images: number }} CodeBucket
 */

export const title = 'Status';

const REFRESH_INTERVAL = 2000; // ms
const MAX_NAMED_CLASSES = 12;
// Counting shared codes reads all of them. It is repeated if this share of the images has changed.
const RECOUNT_SHARE = 1 / 50;
// In units of the drawing.
const [ROW_HEIGHT, BAR_START, BAR_WIDTH] = [20, 84, 200];

/**
 * @param {string} name
 * @param {import('./dom.js').Child} value
 */
const fact = (name, value) => el('div', { class: 'fact' }, el('dt', {}, name), el('dd', {}, value));

/** @param {CodeBucket} sharing */
const rangeText = ({ from }) => (from === 1 ? '1' : `${count(from)}–${count(2 * from - 1)}`);

/**
 * Creates a histogram of images by how many of them share a code.
 * @param {{ buckets: CodeBucket[], bits: number, images: number, distinct: number }} sharing
 */
function histogram({ buckets, bits, images, distinct }) {
  const max = Math.max(...buckets.map((one) => one.images), 1);
  const rows = buckets.map((one, at) => {
    const [width, top] = [(one.images / max) * BAR_WIDTH, at * ROW_HEIGHT];
    return [
      svg('text', { x: BAR_START - 6, y: top + 14, class: 'end' }, rangeText(one)),
      svg('rect', { x: BAR_START, y: top + 3, width, height: 14 }),
      svg(
        'text',
        { x: BAR_START + 6 + width, y: top + 14 },
        `${plural(one.codes, 'code')}, ${plural(one.images, 'image')}`,
      ),
    ];
  });
  const description = buckets.map((one) => `${plural(one.codes, 'code')} of ${rangeText(one)} images each`).join('; ');
  const label = `Codes of ${bits} bits by how many images share them: ${description}`;
  const viewBox = `0 0 480 ${Math.max(buckets.length, 1) * ROW_HEIGHT}`;
  const summary = `${plural(images, 'image')} share ${plural(distinct, 'distinct code')} of ${bits} bits.`;
  return el(
    'figure',
    {},
    svg('svg', { class: 'histogram', viewBox, role: 'img', 'aria-label': label }, rows),
    el('figcaption', {}, summary, ' The left column counts the images of one code.'),
  );
}

/**
 * @param {Reading} now
 * @param {Reading} [before] rates need it
 */
function loadFacts(now, before) {
  const { metrics } = now;
  const change = before && metrics.since(before.metrics);
  const seconds = before ? (now.time - before.time) / 1000 : 0;
  const rate = (/** @type {string} */ name, /** @type {Record<string, string>} */ labels = {}) =>
    change ? `${(change.sum(name, labels) / seconds).toFixed(1)}/s` : '…';
  const mean = (/** @type {string} */ name, /** @type {number} */ scale, /** @type {string} */ unit) => {
    const measured = change?.sum(`${name}_count`);
    return change && measured ? `${((change.sum(`${name}_sum`) / measured) * scale).toFixed(1)} ${unit}` : 'none';
  };
  return [
    fact('Searches', rate('scihcgrl_requests_total', { route: '/search' })),
    fact('All requests', rate('scihcgrl_requests_total')),
    fact('Images encoded', rate('scihcgrl_batch_images_sum')),
    fact('Images in a batch', mean('scihcgrl_batch_images', 1, 'on average')),
    fact('Queue', plural(metrics.sum('scihcgrl_queue_depth'), 'image')),
    fact('Wait in the queue', mean('scihcgrl_queue_duration_seconds', 1000, 'ms')),
    fact('Refused or dropped', count(metrics.sum('scihcgrl_images_dropped_total'))),
    fact('Memory', byteSize(metrics.sum('process_resident_memory_bytes'))),
  ];
}

/** @param {any} index of the service's info */
function indexFacts(index) {
  const { images, precision, generation, uncoded } = index;
  /** @type {{ what: string, why: string }[]} */
  const damage = index.damage;
  const damages = damage.map(({ what, why }) => el('li', {}, `${what}: ${why}`));
  return [
    fact('Images', count(images)),
    ...Object.entries(index.distinct_codes).map(([bits, codes]) =>
      fact(`Distinct codes of ${bits} bits`, count(codes))
    ),
    fact('Memory of the codes', byteSize(index.memory_bytes)),
    fact('On disk', byteSize(index.disk_bytes)),
    fact('Precision', precision),
    fact('Generation', generation),
    ...uncoded > 0 ? [fact('Uncoded images', count(uncoded))] : [],
    ...damages.length > 0 ? [fact('Damage', el('ul', {}, damages))] : [],
  ];
}

/** @param {any} info of the service */
function modelFacts({ model, model_id: id, input_size: side }) {
  const { backbone, cell, hidden, classes, training } = model;
  const named = classes.slice(0, MAX_NAMED_CLASSES).join(', ');
  const rest = classes.length > MAX_NAMED_CLASSES ? ', …' : '';
  return [
    fact('Model', el('code', {}, id)),
    fact('Backbone', backbone),
    fact('Policy', `${cell}, ${hidden} units`),
    fact('Input', `${side} × ${side} pixels`),
    fact('Classes', `${plural(classes.length, 'class', 'classes')}: ${named}${rest}`),
    ...training?.images ? [fact('Trained on', plural(training.images, 'image'))] : [],
  ];
}

class StatusView {
  /** @param {AbortSignal} signal */
  constructor(signal) {
    this.signal = signal;
    /** @type {Reading | undefined} */
    this.reading = undefined;
    /**
     * The index when shared codes were counted.
     * @type {{ generation: number, images: number } | undefined}
     */
    this.counted = undefined;
    this.problem = alertText();
    this.load = el('dl', { class: 'facts' });
    this.index = el('dl', { class: 'facts' });
    this.sharing = el('div', { class: 'facts' });
    this.model = el('dl', { class: 'facts' });
    this.elements = [
      this.problem,
      el('h2', {}, 'Right now'),
      this.load,
      el('h2', {}, 'Index'),
      this.index,
      el('h2', {}, 'Shared codes'),
      this.sharing,
      el('h2', {}, 'Model'),
      this.model,
    ];
  }

  async refresh() {
    const { signal } = this;
    const readMetrics = async () => Metrics.parse(await (await send('/metrics', { signal })).text());
    const [info, metrics] = await Promise.all([ask('/info', { signal }), readMetrics()]);
    const reading = { time: performance.now(), metrics };
    this.load.replaceChildren(...loadFacts(reading, this.reading));
    this.reading = reading;
    this.index.replaceChildren(...indexFacts(info.index));
    this.model.replaceChildren(...modelFacts(info));
    await this.#countSharing(info.index);
  }

  /** @param {{ generation: number, images: number }} index */
  async #countSharing({ generation, images }) {
    const { counted, signal } = this;
    const isCurrent = counted?.generation === generation &&
      Math.abs(images - counted.images) <= counted.images * RECOUNT_SHARE;
    if (isCurrent) return;
    this.sharing.replaceChildren(histogram(await ask('/codes', { signal })));
    this.counted = { generation, images };
  }

  async refreshOrShowProblem() {
    try {
      await this.refresh();
      this.problem.textContent = '';
    } catch (error) {
      this.problem.textContent = messageOf(error);
    }
  }
}

/**
 * @param {HTMLElement} main
 * @param {URLSearchParams} _params
 * @param {AbortSignal} signal
 */
export async function show(main, _params, signal) {
  const view = new StatusView(signal);
  main.append(el('h1', {}, 'Status'), ...view.elements);
  await view.refresh();
  for (;;) {
    await pause(REFRESH_INTERVAL, signal);
    if (!document.hidden) await view.refreshOrShowProblem();
  }
}
