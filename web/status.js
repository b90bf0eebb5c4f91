// The status view: what the index holds, how its codes are shared, what the service is doing just now, and its model. Knows facts and
// metrics; asks for both again while it is shown.
import { bytes, count, el, plural, svg } from './dom.js';
import { difference, parse } from './metrics.js';
import { ask, send, words } from './service.js';

export const title = 'Status';
const EVERY = 2000;

const fact = (name, value) => el('div', { class: 'fact' }, el('dt', {}, name), el('dd', {}, value));

/** How many images have codes that so many share. */
function histogram({ classes, bits, images, distinct }) {
  const most = Math.max(...classes.map((one) => one.images), 1);
  const name = ({ from }) => (from === 1 ? '1' : `${count(from)}–${count(2 * from - 1)}`);
  const rows = classes.map((one, at) => [
    svg('text', { x: 78, y: at * 20 + 14, class: 'end' }, name(one)),
    svg('rect', { x: 84, y: at * 20 + 3, width: (one.images / most) * 200, height: 14 }),
    svg('text', { x: 90 + (one.images / most) * 200, y: at * 20 + 14 }, `${plural(one.codes, 'code')}, ${plural(one.images, 'image')}`),
  ]);
  const said = classes.map((one) => `${plural(one.codes, 'code')} of ${name(one)} images each`).join('; ');
  return el('figure', {},
    svg('svg', { class: 'histogram', viewBox: `0 0 480 ${Math.max(classes.length, 1) * 20}`, role: 'img', 'aria-label': `Codes of ${bits} bits by how many images share them: ${said}` }, rows),
    el('figcaption', {}, `${plural(images, 'image')} share ${plural(distinct, 'distinct code')} of ${bits} bits; to the left, how many images share one.`));
}

function doing(now, change, seconds) {
  const rate = (name, labels) => (change ? `${(change.sum(name, labels) / seconds).toFixed(1)} a second` : '…');
  const mean = (name, scale, unit) => {
    const made = change?.sum(`${name}_count`);
    return made ? `${((change.sum(`${name}_sum`) / made) * scale).toFixed(1)} ${unit}` : 'none just now';
  };
  return [
    fact('Searches', rate('scihcgrl_requests_total', { route: '/search' })),
    fact('All requests', rate('scihcgrl_requests_total')),
    fact('Images encoded', rate('scihcgrl_batch_images_sum')),
    fact('Images in a batch', mean('scihcgrl_batch_images', 1, 'on average')),
    fact('Queue', plural(now.sum('scihcgrl_queue_depth'), 'image')),
    fact('Wait in it', mean('scihcgrl_queue_duration_seconds', 1000, 'ms')),
    fact('Refused or dropped', count(now.sum('scihcgrl_images_dropped_total'))),
    fact('Memory', bytes(now.sum('process_resident_memory_bytes'))),
  ];
}

function card({ model, model_id: id, input_size: side }) {
  const { backbone, cell, hidden, classes, training } = model;
  return [
    fact('Model', el('code', {}, id)),
    fact('Backbone', backbone),
    fact('Policy', `${cell}, ${hidden} units`),
    fact('Reads', `${side} × ${side} pixels`),
    fact('Classes', `${plural(classes.length, 'class', 'classes')}: ${classes.slice(0, 12).join(', ')}${classes.length > 12 ? ', …' : ''}`),
    training?.images && fact('Trained on', plural(training.images, 'image')),
  ];
}

export async function show(main, params, signal) {
  const [index, shares, live, about] = ['dl', 'div', 'dl', 'dl'].map((tag) => el(tag, { class: 'facts' }));
  const told = el('p', { class: 'problem', role: 'alert' });
  main.append(el('h1', {}, 'Status'), told, el('h2', {}, 'Just now'), live, el('h2', {}, 'Index'), index, el('h2', {}, 'How codes are shared'), shares, el('h2', {}, 'Model'), about);
  let before;
  let counted = { images: -1 };

  async function refresh() {
    const [info, text] = await Promise.all([ask('/info', { signal }), send('/metrics', { signal }).then((answer) => answer.text())]);
    const [at, now] = [performance.now(), parse(text)];
    const { images, distinct_codes: distinct, memory_bytes: memory, disk_bytes: disk, precision, generation, left_out: leftOut, damage } = info.index;
    live.replaceChildren(...doing(now, before && difference(before.now, now), before && (at - before.at) / 1000));
    before = { at, now };
    index.replaceChildren(...[
      fact('Images', count(images)),
      ...Object.entries(distinct).map(([bits, codes]) => fact(`Distinct codes of ${bits} bits`, count(codes))),
      fact('Memory of the codes', bytes(memory)), fact('On disk', bytes(disk)), fact('Computed in', precision), fact('Generation', generation),
      leftOut > 0 && fact('Without codes', count(leftOut)), damage.length > 0 && fact('Damaged', el('ul', {}, damage.map(({ what, why }) => el('li', {}, `${what}: ${why}`)))),
    ].filter(Boolean));
    about.replaceChildren(...card(info).filter(Boolean));
    // All codes are counted for it, so not for every image that comes.
    if (generation !== counted.generation || Math.abs(images - counted.images) > counted.images / 50) {
      shares.replaceChildren(histogram(await ask('/codes', { signal })));
      counted = { generation, images };
    }
  }

  await refresh();
  while (!signal.aborted) {
    await new Promise((after) => setTimeout(after, EVERY));
    if (signal.aborted || document.hidden) continue;
    try {
      await refresh();
      told.textContent = '';
    } catch (error) {
      if (!signal.aborted) told.textContent = words(error) ?? '';
    }
  }
}
