// Shows the view that the address names, and asks for the key. Knows which views there are; each of them does its own work.
import { dialog, el, field, notice } from './dom.js';
import { setKey, words } from './service.js';
import * as gallery from './gallery.js';
import * as models from './models.js';
import * as search from './search.js';
import * as status from './status.js';

const VIEWS = { search, gallery, models, status };
const main = document.getElementById('main');
let leaving = new AbortController();

async function show() {
  const [name, params] = location.hash.slice(1).split('?');
  const view = VIEWS[name || 'search'];
  if (!view) return;
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${name || 'search'}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${view.title} – scihcgrl`;
  main.replaceChildren();
  try {
    await view.show(main, new URLSearchParams(params ?? ''), signal);
  } catch (error) {
    const told = words(error);
    if (told && !signal.aborted) main.append(el('p', { class: 'problem', role: 'alert' }, told), el('button', { type: 'button', onclick: show }, 'Try again'));
  }
}

function askForKey(why) {
  if (document.querySelector('dialog.key')) return;
  const input = el('input', { type: 'password', autocomplete: 'off', required: true });
  const form = el('form', { method: 'dialog', onsubmit: () => setKey(input.value) },
    why && el('p', { class: 'problem', role: 'alert' }, why),
    field('Key', input, 'Kept in this page’s memory until it is closed, and nowhere else. Changing images needs a write key, models and jobs an admin key.'),
    el('div', { class: 'actions' }, el('button', { class: 'primary' }, 'Use it')));
  dialog('Key of the service', { class: 'key' }, form);
  input.focus();
}

document.getElementById('key').addEventListener('click', () => askForKey());
addEventListener('key-wanted', (event) => askForKey(event.detail.message));
addEventListener('key-changed', show);
addEventListener('hashchange', show);
addEventListener('unhandledrejection', (event) => {
  const told = words(event.reason);
  event.preventDefault();
  if (told) notice(told, 'problem');
});
// A file may be dropped anywhere; by itself a browser would show it in the page's place.
for (const name of ['dragover', 'dragleave', 'drop']) {
  addEventListener(name, (event) => {
    event.preventDefault();
    document.body.classList.toggle('dragging', name === 'dragover');
  });
}
show();
