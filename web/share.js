// Shares a search: its address, and the curl command that sends the same request.
import { button, el } from './dom.js';
import { boxParameter, isStored, requestOf } from './query.js';
import { BASE, hasKey, originalPath } from './service.js';

/** @typedef {import('./query.js').ActiveModel} ActiveModel */
/** @typedef {import('./query.js').Query} Query */

/** @param {string} text */
const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** @param {string} path below BASE */
const quotedUrl = (path) => shellQuoted(location.origin + BASE + path);

/**
 * Returns the command that repeats a search. It sends a picture as a file, and fetches a stored
 * original first if only a part of it is searched.
 * @param {Query} query with a subject
 * @param {ActiveModel} active
 */
function curlCommand(query, active) {
  const { subject = {} } = query;
  const { path, json } = requestOf(query, active);
  const url = quotedUrl([path, boxParameter(subject)].filter(Boolean).join('&'));
  const curl = `curl${hasKey() ? ' -H "authorization: Bearer $SCIHCGRL_KEY"' : ''}`;
  if (isStored(subject) || !subject.file) {
    return `${curl} -H 'content-type: application/json' -d ${shellQuoted(JSON.stringify(json))} ${url}`;
  }
  const withFile = (/** @type {string} */ name) => `${curl} -F ${shellQuoted(`image=@${name}`)} ${url}`;
  if (!subject.id) return withFile(subject.file.name || 'image.png');
  return `${curl} ${quotedUrl(originalPath(subject.id))} | ${withFile('-')}`;
}

/**
 * @param {string} name
 * @param {string} text
 */
function copyRow(name, text) {
  const input = el('input', { readonly: true, value: text, 'aria-label': name, onfocus: () => input.select() });
  const copy = button(`Copy ${name}`, async () => {
    input.select();
    // Browsers offer the clipboard over HTTPS and on localhost only.
    // Elsewhere the user copies the selected text.
    await navigator.clipboard?.writeText(text).catch(() => {});
    copy.textContent = navigator.clipboard ? 'Copied' : 'Selected';
  });
  return el('div', { class: 'row' }, input, copy);
}

/**
 * Creates the details that offer a query's address and command to copy.
 * @param {Query} query with a subject
 * @param {ActiveModel} active
 */
export const shareDetails = (query, active) =>
  el(
    'details',
    {},
    el('summary', {}, 'Share this search'),
    copyRow('link', location.href),
    copyRow('curl', curlCommand(query, active)),
  );
