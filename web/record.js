// One stored image, in a dialog: what is known of it, how its code differs from what was searched for, its labels to change, and its end.
// Knows records; not from where it was opened.
import { bytes, dialog, el, field, moment, notice } from './dom.js';
import { differing, fingerprint } from './bits.js';
import { framed } from './box.js';
import { likeness } from './likeness.js';
import { picture, preview } from './picture.js';
import { BASE, ask, contentOf, pathOf, words } from './service.js';

/** Labels as people write them: with commas between. */
export const split = (text) => [...new Set(text.split(',').map((label) => label.trim()).filter(Boolean))];

function compared({ query, subject, match }) {
  const image = subject.file ? preview(subject.file, 'What was searched for') : subject.id && picture(contentOf(subject.id), 'What was searched for');
  const bits = differing(query.code, match.code);
  const verdict = bits.length === 0 ? 'Both have the same code.' : `They differ in ${bits.length} of ${query.bits} bits: ${bits.join(', ')}.`;
  return el('section', { class: 'compared' },
    el('h3', {}, 'Searched for'), image && framed(image, subject.box), fingerprint(query.code),
    el('h3', {}, 'Found'), fingerprint(match.code, query.code),
    el('p', {}, verdict),
    likeness(match) && el('p', {}, `Similarity (1 is the most): ${likeness(match)}.`));
}

/** Opens an image. With `query`, `subject` and `match` its code is compared with what was searched for; `changed` is told of a change. */
export async function open(id, { query, subject, match, changed = () => {} } = {}) {
  let image;
  try {
    image = await ask(pathOf(id));
  } catch (error) {
    notice(words(error), 'problem');
    return;
  }
  const told = el('p', { role: 'status' });
  const labels = el('input', { value: image.labels.join(', '), autocomplete: 'off' });
  const attempt = async (what) => {
    try {
      await what();
      changed();
    } catch (error) {
      told.className = 'problem';
      told.textContent = words(error) ?? '';
    }
  };
  const form = el('form', { onsubmit: (event) => {
    event.preventDefault();
    attempt(async () => {
      const { labels: now } = await ask(pathOf(id), { method: 'PATCH', json: { labels: split(labels.value) } });
      labels.value = now.join(', ');
      told.className = 'good';
      told.textContent = 'The labels are changed.';
    });
  } }, field('Labels', labels, 'With commas between.'), el('button', {}, 'Change labels'));
  const remove = el('button', { type: 'button', class: 'danger', onclick: () => {
    // The second press means it.
    if (remove.textContent !== 'Really delete?') remove.textContent = 'Really delete?';
    else attempt(async () => {
      await ask(pathOf(id), { method: 'DELETE' });
      shown.close();
      notice(`${id} is deleted.`);
    });
  } }, 'Delete');
  const near = el('button', { type: 'button', class: 'primary', onclick: () => {
    shown.close();
    location.hash = `#search?${new URLSearchParams({ id })}`;
  } }, 'Search near it');
  const facts = [
    ['Kind', `${image.media_type}, ${bytes(image.bytes)}`],
    ['Stored', moment(image.created_at_ms)],
    image.updated_at_ms !== image.created_at_ms && ['Changed', moment(image.updated_at_ms)],
    image.payload !== null && ['Payload', el('pre', {}, JSON.stringify(image.payload, null, 1))],
  ].filter(Boolean);
  const codes = Object.values(image.codes);
  const shown = dialog(id, { class: 'record' },
    el('div', { class: 'record' },
      el('a', { href: BASE + contentOf(id), target: '_blank', rel: 'noopener', 'aria-label': 'The original' }, picture(contentOf(id), image.labels.join(', ') || id)),
      el('div', {},
        match && compared({ query, subject, match }),
        el('dl', {}, facts.map(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
        !match && (codes.length ? codes.map((code) => fingerprint(code)) : el('p', { class: 'problem' }, 'It has no codes, since its original could not be read; store it again.')),
        form, told, el('div', { class: 'actions' }, near, remove))));
}
