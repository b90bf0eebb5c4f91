// The search view: an image, a stored image or a code, how near and how many, and what was found. Knows what can be chosen; results and
// records show themselves.
import { boxed } from './box.js';
import { el, field, plural, slider } from './dom.js';
import { picture, preview } from './picture.js';
import { fingerprint } from './bits.js';
import { AT_LEAST } from './likeness.js';
import { results } from './results.js';
import { share } from './share.js';
import { ask, contentOf, send, words } from './service.js';
import { body, isCompared, isStored, part, query, read, write } from './wanted.js';

export const title = 'Search';
// In bits, where a radius is wanted at first.
const RADIUS = 2;

/** What the page has to know of the model that answers. */
async function model(signal) {
  const { lengths, model_id: id, model: { sketch }, thresholds } = await ask('/info', { signal });
  return { lengths, id, sketches: Boolean(sketch), thresholds };
}

export async function show(main, params, signal) {
  let active = await model(signal);
  const { lengths } = active;
  const wanted = read(params, lengths);
  let running = new AbortController();
  let later;

  const chosen = el('div', { class: 'chosen' });
  const found = el('section', { class: 'found', 'aria-label': 'Results', 'aria-busy': 'false' });
  const shared = el('div', { class: 'shared' });
  const file = el('input', { type: 'file', accept: 'image/*', onchange: () => file.files[0] && take({ file: file.files[0] }) });
  const soon = () => {
    Object.assign(wanted, { radius: within.checked ? radius.value : null, relation: alike.value, limit: limit.value });
    clearTimeout(later);
    later = setTimeout(run, 100);
  };
  const within = el('input', { type: 'checkbox', checked: wanted.radius !== null, onchange: () => { radius.hidden = !within.checked; soon(); } });
  const radius = slider('Radius', { min: 0, max: wanted.bits, value: Math.min(wanted.radius ?? RADIUS, wanted.bits) }, soon);
  radius.hidden = wanted.radius === null;
  const alike = el('select', { onchange: soon });
  const held = field('How alike', alike);
  const limit = slider('Most images', { min: 10, max: 200, step: 10, value: wanted.limit }, soon);
  const lengthOf = (bits) => {
    const input = el('input', { type: 'radio', name: 'bits', value: bits, checked: bits === wanted.bits, onchange: () => { wanted.bits = bits; radius.input.max = bits; radius.set(radius.value); soon(); } });
    return el('label', {}, input, ` ${bits}`);
  };
  const radios = lengths.map(lengthOf);
  const labels = el('datalist', { id: 'labels' });
  const label = el('input', { list: 'labels', value: wanted.label, maxlength: 255, autocomplete: 'off', onchange: () => { wanted.label = label.value.trim(); run(); } });

  main.append(
    el('h1', {}, 'Search'),
    el('div', { class: 'search' },
      el('div', { class: 'asked' },
        el('div', { class: 'drop' }, chosen, field('Drop, paste or choose an image', file), el('p', {}, 'or take one from the ', el('a', { href: '#gallery' }, 'gallery'))),
        el('fieldset', {}, el('legend', {}, 'Bits of the code'), el('div', { class: 'row' }, radios)),
        el('label', {}, within, ' Only codes that differ in few bits'), radius, held, limit, field('Only with the label', label), labels, shared),
      found));

  addEventListener('paste', (event) => {
    const [pasted] = event.clipboardData?.files ?? [];
    if (pasted) take({ file: pasted });
  }, { signal });
  addEventListener('drop', (event) => {
    const [dropped] = event.dataTransfer?.files ?? [];
    if (dropped) take({ file: dropped });
  }, { signal });
  signal.addEventListener('abort', () => { clearTimeout(later); running.abort(); });
  ask('/labels?limit=1000', { signal }).then(({ labels: all }) => labels.append(...all.map((one) => el('option', { value: one.label })))).catch(() => {});

  function take(subject) {
    wanted.subject = subject;
    run();
  }

  /** Offers the relations that the active model has thresholds for; any other counts as any image. */
  function offerRelations() {
    const known = Object.keys(AT_LEAST).filter((relation) => !relation || typeof active.thresholds?.[relation] === 'number');
    alike.replaceChildren(...known.map((relation) => el('option', { value: relation }, AT_LEAST[relation], relation && `, from ${active.thresholds[relation].toFixed(2)}`)));
    if (!known.includes(wanted.relation)) wanted.relation = '';
    alike.value = wanted.relation;
    held.hidden = known.length === 1;
  }

  function showSubject() {
    const { subject, bits } = wanted;
    const named = subject.id ?? subject.file?.name;
    const image = subject.file ? preview(subject.file, `What is searched for: ${named}`) : subject.id && picture(contentOf(subject.id), `What is searched for: ${named}`);
    const cut = (box) => {
      // What is on its way is of another part.
      running.abort();
      subject.box = box;
      delete subject.codes;
      soon();
    };
    chosen.replaceChildren(image ? boxed(image, subject.box, cut) : fingerprint(subject.codes[bits]), el('p', {}, named ?? 'a code, without a picture'));
    // A code alone has one length.
    const known = (length) => subject.id || subject.file || subject.codes[length];
    radios.forEach((radio, at) => { radio.firstChild.disabled = !known(lengths[at]); });
  }

  /** Codes of a picture, or of a part of it, of which the service has none; a stored one is sent back for that. */
  async function encode(subject, current) {
    subject.file ??= await (await send(contentOf(subject.id), { signal: current })).blob();
    const headers = { 'content-type': 'application/octet-stream' };
    const { codes, sketch, model: id, timing_ms: timing } = await ask(`/encode?${part(subject)}`, { method: 'POST', body: subject.file, headers, signal: current });
    current.throwIfAborted();
    Object.assign(subject, { codes, sketch, model: id });
    return timing;
  }

  /** Why the order is by distance where it might be by similarity. */
  function why({ order, model: id }) {
    const { codes, sketch, model: of } = wanted.subject;
    if (order === 'similarity' || !codes) return undefined;
    if (of && of !== id) return `In order of distance. The address is of model ${of} and model ${id} answers now, so what is near means little.`;
    return active.sketches && !sketch ? 'In order of distance, for the address has no sketch by which images could be compared.' : undefined;
  }

  /** Searches, and once `again` where another model answers than the page knows of. */
  async function run(again = true) {
    if (!wanted.subject) return;
    running.abort();
    running = new AbortController();
    const current = running.signal;
    const { subject } = wanted;
    found.setAttribute('aria-busy', 'true');
    try {
      if (subject !== run.shown) showSubject();
      run.shown = subject;
      const encoding = subject.codes || isStored(subject) ? undefined : await encode(subject, current);
      let answer;
      try {
        answer = await ask(query(wanted, active), { json: body(wanted, active), signal: current });
      } catch (problem) {
        if (!again || problem.code !== 'other_model') throw problem;
      }
      if (again && answer?.query.model !== active.id) {
        // Another model was activated. A picture is encoded again; a code without its picture is sent without its sketch.
        active = await model(current);
        offerRelations();
        if (subject.file && subject.model !== active.id) delete subject.codes;
        return await run(false);
      }
      alike.disabled = !isCompared(wanted, active);
      if (encoding) Object.assign(answer.timing_ms, encoding, { total: encoding.total + answer.timing_ms.total });
      history.replaceState(null, '', write(wanted));
      const more = (offset) => ask(`${query(wanted, active)}&offset=${offset}`, { json: body(wanted, active), signal: current });
      results(found, answer, { subject, why: why(answer.query), more, wider: (to) => { radius.set(to); soon(); }, anyOf: () => { alike.value = ''; soon(); }, changed: () => run() });
      shared.replaceChildren(share(wanted, active));
    } catch (error) {
      const told = words(error);
      if (told && !current.aborted) found.replaceChildren(el('p', { class: 'problem', role: 'alert' }, told));
    } finally {
      if (current === running.signal) found.setAttribute('aria-busy', 'false');
    }
  }

  /** A start for whoever has no image at hand. */
  async function offer() {
    const { images, total } = await ask('/images?limit=18', { signal });
    if (wanted.subject) return;
    const start = (image) => el('button', { type: 'button', onclick: () => take({ id: image.id }), 'aria-label': `Search near ${image.id}` }, picture(contentOf(image.id), ''));
    if (total === 0) found.append(el('p', {}, 'Nothing is stored yet. ', el('a', { href: '#gallery' }, 'Add images'), ' first.'));
    else found.append(el('h2', {}, `Or begin with one of ${plural(total, 'stored image')}`), el('ul', { class: 'grid' }, images.map((image) => el('li', {}, start(image)))));
  }

  offerRelations();
  await (wanted.subject ? run() : offer());
}
