// The search view: an image, a stored image or a code, how near and how many, and what was found. Knows what can be chosen; results and
// records show themselves.
import { el, field, notice, plural, slider } from './dom.js';
import { picture, preview } from './picture.js';
import { fingerprint } from './bits.js';
import { results } from './results.js';
import { share } from './share.js';
import { ask, words } from './service.js';
import { query, read, write } from './wanted.js';

export const title = 'Search';

export async function show(main, params, signal) {
  const { lengths } = await ask('/info', { signal });
  const wanted = read(params, lengths);
  let running = new AbortController();
  let later;

  const chosen = el('div', { class: 'chosen' });
  const found = el('section', { class: 'found', 'aria-label': 'Results', 'aria-busy': 'false' });
  const shared = el('div', { class: 'shared' });
  const file = el('input', { type: 'file', accept: 'image/*', onchange: () => file.files[0] && take({ file: file.files[0] }) });
  const soon = () => {
    Object.assign(wanted, { radius: radius.value, limit: limit.value });
    clearTimeout(later);
    later = setTimeout(run, 100);
  };
  const radius = slider('Radius', { min: 0, max: wanted.bits, value: Math.min(wanted.radius, wanted.bits) }, soon);
  const limit = slider('Most images', { min: 10, max: 200, step: 10, value: wanted.limit }, soon);
  const lengthOf = (bits) => {
    const input = el('input', { type: 'radio', name: 'bits', value: bits, checked: bits === wanted.bits, onchange: () => { wanted.bits = bits; radius.input.max = bits; soon(); } });
    return el('label', {}, input, ` ${bits}`);
  };
  const radios = lengths.map(lengthOf);
  const labels = el('datalist', { id: 'labels' });
  const label = el('input', { list: 'labels', value: wanted.label, maxlength: 100, autocomplete: 'off', onchange: () => { wanted.label = label.value.trim(); run(); } });

  main.append(
    el('h1', {}, 'Search'),
    el('div', { class: 'search' },
      el('div', { class: 'asked' },
        el('div', { class: 'drop' }, chosen, field('Drop, paste or choose an image', file), el('p', {}, 'or take one from the ', el('a', { href: '#gallery' }, 'gallery'))),
        el('fieldset', {}, el('legend', {}, 'Bits of the code'), el('div', { class: 'row' }, radios)),
        radius, limit, field('Only with the label', label), labels, shared),
      found));

  addEventListener('paste', (event) => {
    const [pasted] = event.clipboardData?.files ?? [];
    if (pasted) take({ file: pasted });
  }, { signal });
  addEventListener('drop', (event) => {
    const [dropped] = event.dataTransfer?.files ?? [];
    if (dropped) take({ file: dropped });
  }, { signal });
  signal.addEventListener('abort', () => running.abort());
  ask('/labels?limit=1000', { signal }).then(({ labels: all }) => labels.append(...all.map((one) => el('option', { value: one.label })))).catch(() => {});

  function take(subject) {
    wanted.subject = subject;
    run();
  }

  function showSubject() {
    const { subject, bits } = wanted;
    const named = subject.file?.name ?? subject.id;
    const image = subject.file ? preview(subject.file, `What is searched for: ${named}`) : subject.id && picture(`/images/${subject.id}/content`, `What is searched for: ${named}`);
    chosen.replaceChildren(image || fingerprint(subject.codes[bits]), el('p', {}, named ?? 'a code, without a picture'));
    // A code alone has one length.
    const known = (length) => subject.id || subject.file || subject.codes[length];
    radios.forEach((radio, at) => { radio.firstChild.disabled = !known(lengths[at]); });
  }

  async function run() {
    if (!wanted.subject) return;
    running.abort();
    running = new AbortController();
    const current = running.signal;
    const { subject } = wanted;
    found.setAttribute('aria-busy', 'true');
    try {
      if (subject !== run.shown) showSubject();
      run.shown = subject;
      let encoding;
      if (subject.file && !subject.codes) {
        const { codes, model, timing_ms: timing } = await ask('/encode', { method: 'POST', body: subject.file, headers: { 'content-type': 'application/octet-stream' }, signal: current });
        Object.assign(subject, { codes, model });
        encoding = timing;
      }
      const json = subject.id ? { id: subject.id } : { code: subject.codes[wanted.bits] };
      const answer = await ask(query(wanted), { json, signal: current });
      if (subject.codes && answer.query.model !== subject.model) {
        if (!subject.file) notice('Another model answers now than the one that made this code; what is near it means nothing.', 'problem');
        // Another was activated meanwhile.
        else if (!encoding) { delete subject.codes; return await run(); }
      }
      if (encoding) Object.assign(answer.timing_ms, encoding, { total: encoding.total + answer.timing_ms.total });
      history.replaceState(null, '', write(wanted));
      const more = (offset) => ask(`${query(wanted)}&offset=${offset}`, { json, signal: current });
      results(found, answer, { subject, more, wider: (to) => { radius.set(to); soon(); }, changed: run });
      shared.replaceChildren(share(wanted));
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
    const start = (image) => el('button', { type: 'button', onclick: () => take({ id: image.id }), 'aria-label': `Search near ${image.id}` }, picture(image.content_url, ''));
    if (total === 0) found.append(el('p', {}, 'Nothing is stored yet. ', el('a', { href: '#gallery' }, 'Add images'), ' first.'));
    else found.append(el('h2', {}, `Or begin with one of ${plural(total, 'stored image')}`), el('ul', { class: 'grid' }, images.map((image) => el('li', {}, start(image)))));
  }

  await (wanted.subject ? run() : offer());
}
