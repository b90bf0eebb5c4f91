// A search to pass on: its address, and the curl command that asks the same. Knows shells and clipboards.
import { el } from './dom.js';
import { hasKey } from './service.js';
import { query } from './wanted.js';

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The command that asks the service what is on the screen. */
export function curl(wanted) {
  const { subject, bits } = wanted;
  const parts = ['curl'];
  if (hasKey()) parts.push('-H "authorization: Bearer $SCIHCGRL_KEY"');
  if (subject.file) parts.push('-F', quoted(`image=@${subject.file.name || 'image.png'}`));
  else parts.push("-H 'content-type: application/json' -d", quoted(JSON.stringify(subject.id ? { id: subject.id } : { code: subject.codes[bits] })));
  parts.push(quoted(location.origin + query(wanted)));
  return parts.join(' ');
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

export function share(wanted) {
  return el('details', {}, el('summary', {}, 'Share, or ask with curl'), copied('link', location.href), copied('curl', curl(wanted)));
}
