// Adding files to the gallery: some at a time, each with its progress and, where it is refused, why. Knows files and labels.
import { el, field, plural } from './dom.js';
import { split } from './record.js';
import { upload, words } from './service.js';

const AT_ONCE = 4;
const AGAIN = new Set([429, 503]);

async function send(file, labels, { progress, signal }) {
  const params = new URLSearchParams(labels.map((label) => ['label', label]));
  for (let tries = 1; ; tries++) {
    try {
      return await upload(`/images?${params}`, file, { progress, signal });
    } catch (problem) {
      // A service that is busy says so, and takes it a little later.
      if (!AGAIN.has(problem.status) || tries === 20) throw problem;
      await new Promise((after) => setTimeout(after, 500));
    }
  }
}

/** A form that adds files; `changed` is told when some are stored. */
export function adding(signal, changed) {
  const labels = el('input', { autocomplete: 'off' });
  const list = el('ul', { class: 'files' });
  const summary = el('p', { role: 'status' });
  const input = el('input', { type: 'file', multiple: true, accept: 'image/*', onchange: () => { take([...input.files]); input.value = ''; } });
  const form = el('details', { class: 'drop', open: true }, el('summary', {}, 'Add images'), el('div', { class: 'bar' }, field('Drop, paste or choose files', input), field('Labels for them', labels, 'With commas between; may be left empty.')), summary, list);

  addEventListener('drop', (event) => take([...(event.dataTransfer?.files ?? [])]), { signal });
  addEventListener('paste', (event) => take([...(event.clipboardData?.files ?? [])]), { signal });

  function row(file) {
    const bar = el('progress', { max: 1, value: 0, 'aria-label': `Sending ${file.name}` });
    const state = el('span', {}, 'waiting');
    return { file, bar, state, shown: el('li', {}, el('span', { class: 'name' }, file.name), bar, state) };
  }

  async function take(files) {
    if (files.length === 0) return;
    form.open = true;
    const of = split(labels.value);
    const rows = files.map(row);
    list.replaceChildren(...rows.map((one) => one.shown));
    const waiting = [...rows];
    let stored = 0;
    const tell = (end) => { summary.textContent = `${stored} of ${plural(rows.length, 'file')} stored${end}`; };
    async function work() {
      for (let one = waiting.shift(); one && !signal.aborted; one = waiting.shift()) {
        one.state.textContent = 'sending';
        try {
          await send(one.file, of, { progress: (part) => { one.bar.value = part; }, signal });
          stored += 1;
          one.bar.value = 1;
          one.state.textContent = 'stored';
        } catch (error) {
          one.bar.remove();
          one.state.className = 'problem';
          one.state.textContent = words(error) ?? 'not sent';
        }
        tell('…');
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    const refused = rows.length - stored;
    tell(refused ? `, ${refused} refused.` : '.');
    if (stored && !signal.aborted) await changed();
  }

  return form;
}
