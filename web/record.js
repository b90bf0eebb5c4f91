// Shows the record of a stored image in a dialog, and compares its code with a query's.
// Edits and deletes the image.
import { FramedPicture } from './box.js';
import { codePattern, differingBits } from './code.js';
import { button, dialog, el, field, notice } from './dom.js';
import { byteSize, localTime, similarityText, splitLabels } from './format.js';
import { latest } from './latest.js';
import { picture, preview } from './picture.js';
import { ask, BASE, imagePath, messageOf, originalPath } from './service.js';

/** @typedef {import('./service.js').Image} Image */
/**
 * A match, and the search that found it.
 * @typedef {{
 *   query: import('./service.js').SearchedQuery,
 *   subject: import('./query.js').Subject,
 *   match: import('./service.js').Match,
 * }} Comparison
 */

const CONFIRM_DELETE = 'Really delete?';

/**
 * @param {Comparison} comparison
 * @param {AbortSignal} signal
 */
function comparisonSection({ query, subject, match }, signal) {
  const { id, file, box } = subject;
  const image = file ? preview(file, 'Query image') : id && picture(originalPath(id), 'Query image', signal);
  const bits = differingBits(query.code, match.code);
  const difference = `The codes differ in ${bits.length} of ${query.bits} bits: ${bits.join(', ')}.`;
  const similarity = similarityText(match);
  return el(
    'section',
    { class: 'compared' },
    el('h3', {}, 'Query'),
    image && new FramedPicture(image, box).element,
    codePattern(query.code),
    el('h3', {}, 'Match'),
    codePattern(match.code, query.code),
    el('p', {}, bits.length === 0 ? 'Both have the same code.' : difference),
    similarity && el('p', {}, `Similarity (1 is the highest): ${similarity}.`),
  );
}

/** @param {Image} image */
function facts({ media_type: mediaType, bytes, created_at_ms: created, updated_at_ms: updated, payload }) {
  const rows = [
    ['Type', `${mediaType}, ${byteSize(bytes)}`],
    ['Stored', localTime(created)],
    updated !== created && ['Changed', localTime(updated)],
    payload !== null && ['Payload', el('pre', {}, JSON.stringify(payload, null, 1))],
  ];
  return el('dl', {}, rows.map((row) => row && [el('dt', {}, row[0]), el('dd', {}, row[1])]));
}

/** @param {Image} image */
function codePatterns({ codes }) {
  const patterns = Object.values(codes).map((code) => codePattern(code));
  const none = el(
    'p',
    { class: 'problem' },
    'This image has no codes because its original could not be read. Store it again.',
  );
  return patterns.length ? patterns : none;
}

/**
 * Creates the controls that edit and delete an image.
 * @param {Image} image
 * @param {{ close: () => void, onEdit: () => unknown }} options
 */
function editor({ id, labels }, { close, onEdit }) {
  const input = el('input', { value: labels.join(', '), autocomplete: 'off' });
  const status = el('p', { role: 'status' });

  const showStatus = (/** @type {string} */ kind, /** @type {string} */ text) => {
    status.className = kind;
    status.textContent = text;
  };
  const attempt = async (/** @type {() => Promise<void>} */ edit) => {
    try {
      await edit();
      onEdit();
    } catch (error) {
      showStatus('problem', messageOf(error));
    }
  };
  const changeLabels = async () => {
    const changed = await ask(imagePath(id), { method: 'PATCH', json: { labels: splitLabels(input.value) } });
    input.value = changed.labels.join(', ');
    showStatus('good', 'Labels changed.');
  };
  const deleteImage = async () => {
    await ask(imagePath(id), { method: 'DELETE' });
    close();
    notice(`Deleted ${id}.`);
  };
  const search = () => {
    close();
    location.hash = `#search?${new URLSearchParams({ id })}`;
  };
  const remove = button('Delete', () => {
    if (remove.textContent === CONFIRM_DELETE) attempt(deleteImage);
    else remove.textContent = CONFIRM_DELETE;
  }, { class: 'danger' });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    attempt(changeLabels);
  };
  return [
    el('form', { onsubmit: submit }, field('Labels', input, 'Separated by commas.'), el('button', {}, 'Change labels')),
    status,
    el('div', { class: 'actions' }, button('Search with this image', search, { class: 'primary' }), remove),
  ];
}

// Shared by all views, so that two quick clicks open one dialog. Each call has its view's signal.
const load = latest(
  new AbortController().signal,
  (own, /** @type {string} */ id, /** @type {AbortSignal} */ signal) =>
    ask(imagePath(id), { signal: AbortSignal.any([own, signal]) }),
);

/**
 * Opens the record of an image.
 * @param {string} id
 * @param {{ onEdit: () => unknown, signal: AbortSignal, comparison?: Comparison }} options
 *   `onEdit` runs after the image is changed or deleted; `comparison` is shown with the record
 */
export async function openRecord(id, { onEdit, signal, comparison }) {
  /** @type {Image | undefined} */
  const image = await load(id, signal);
  if (!image || signal.aborted) return;
  const original = picture(originalPath(id), image.labels.join(', ') || id, signal);
  const link = { href: BASE + originalPath(id), target: '_blank', rel: 'noopener', 'aria-label': 'Open the original' };
  const shown = dialog(
    id,
    { class: 'record' },
    el(
      'div',
      { class: 'record' },
      el('a', link, original),
      el(
        'div',
        {},
        comparison && comparisonSection(comparison, signal),
        facts(image),
        !comparison && codePatterns(image),
        editor(image, { close: () => shown.close(), onEdit }),
      ),
    ),
  );
}
