// A search to pass on: its address, and the curl command that asks the same. Knows shells and clipboards.
import { el } from './dom.js';
import { BASE, contentOf, hasKey } from './service.js';
import { body, isStored, part, query } from './wanted.js';

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The command that asks the service what is on the screen. */
export function curl(wanted, active) {
  const { subject } = wanted;
  const command = `curl${hasKey() ? ' -H "authorization: Bearer $SCIHCGRL_KEY"' : ''}`;
  const asked = quoted([location.origin + BASE + query(wanted, active), part(subject)].filter(Boolean).join('&'));
  if (isStored(subject) || !subject.file) return `${command} -H 'content-type: application/json' -d ${quoted(JSON.stringify(body(wanted, active)))} ${asked}`;
  const withFile = (name) => `${command} -F ${quoted(`image=@${name}`)} ${asked}`;
  if (!subject.id) return withFile(subject.file.name || 'image.png');
  return `${command} ${quoted(location.origin + BASE + contentOf(subject.id))} | ${withFile('-')}`;
}

function copied(name, text) {
  const input = el('input', { readonly: true, value: text, 'aria-label': name, onfocus: () => input.select() });
  const button = el('button', { type: 'button', onclick: async () => {
    input.select();
    // Only pages that came over HTTPS or from this machine may write to the clipboard; the rest have the text selected.
    await navigator.clipboard?.writeText(text).catch(() => {});
    button.textContent = navigator.clipboard ? 'Copied' : 'Selected';
  } }, `Copy ${name}`);
  return el('div', { class: 'row' }, input, button);
}

export function share(wanted, active) {
  return el('details', {}, el('summary', {}, 'Share, or ask with curl'), copied('link', location.href), copied('curl', curl(wanted, active)));
}
