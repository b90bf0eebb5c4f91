// Shows the view that the address names, and asks for the key.
// Ends the requests and timers of a view when it is left.
import { alertText, button, dialog, el, field, notice } from './dom.js';
import * as gallery from './gallery.js';
import * as models from './models.js';
import * as search from './search.js';
import { messageOf, setKey } from './service.js';
import * as status from './status.js';

/**
 * A module that fills the page's main element. `signal` aborts when the view is left.
 * @typedef {{
 *   title: string,
 *   show: (main: HTMLElement, params: URLSearchParams, signal: AbortSignal) => Promise<void>,
 * }} View
 */
/** @type {Record<string, View>} */
const VIEWS = { search, gallery, models, status };
const DEFAULT_VIEW = 'search';
const KEY_HINT = 'This page keeps the key in memory until you close it. ' +
  'Storing and changing images needs a key with the role write; models and jobs need admin.';

const main = /** @type {HTMLElement} */ (document.getElementById('main'));
let current = new AbortController();

/** @param {string} name */
function markLink(name) {
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll('nav a'))) {
    if (link.hash === `#${name}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

async function showView() {
  const [name, params = ''] = location.hash.slice(1).split('?');
  const view = VIEWS[name || DEFAULT_VIEW];
  if (!view) return;
  current.abort();
  current = new AbortController();
  const { signal } = current;
  markLink(name || DEFAULT_VIEW);
  document.title = `${view.title} – scihcgrl`;
  main.replaceChildren();
  try {
    await view.show(main, new URLSearchParams(params), signal);
  } catch (error) {
    const message = messageOf(error);
    if (message && !signal.aborted) main.append(alertText(message), button('Try again', showView));
  }
}

/** @param {string} [reason] why a key is needed */
function askForKey(reason) {
  if (document.querySelector('dialog.key')) return;
  const input = el('input', { type: 'password', autocomplete: 'off', required: true });
  dialog(
    'Service key',
    { class: 'key' },
    el(
      'form',
      { method: 'dialog', onsubmit: () => setKey(input.value) },
      reason && alertText(reason),
      field('Key', input, KEY_HINT),
      el('div', { class: 'actions' }, el('button', { class: 'primary' }, 'Use key')),
    ),
  );
  input.focus();
}

document.getElementById('key')?.addEventListener('click', () => askForKey());
addEventListener('key-wanted', (event) => askForKey(/** @type {CustomEvent} */ (event).detail.message));
addEventListener('key-changed', showView);
addEventListener('hashchange', showView);
// An event handler has no caller, so its error is shown here.
addEventListener('unhandledrejection', (event) => {
  event.preventDefault();
  notice(messageOf(event.reason), 'problem');
});
// Without this, the browser would replace the page by a file that is dropped on it.
for (const name of ['dragover', 'dragleave', 'drop']) {
  addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle('dragging', name === 'dragover');
  });
}
showView();
