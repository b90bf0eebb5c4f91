// Jobs: asking for one, following it as it learns or encodes, and those that are over. Knows jobs and their events; not models.
import { el, moment, notice, plural } from './dom.js';
import { curves } from './curves.js';
import { change } from './quality.js';
import { adapting, fineTuning } from './training.js';
import { ask, follow, words } from './service.js';

const KINDS = { fine_tune: 'Fine-tuning', adapt: 'Fitting to the gallery', reencode: 'Encoding the gallery', find_duplicates: 'Finding copies' };
const STAGES = { export: 'copying images', measure: 'measuring', features: 'looking at images and copies of them', 'warm-up': 'the policies learn', joint: 'both networks learn', encode: 'encoding', compare: 'comparing' };
const isOver = ({ state }) => !['queued', 'running'].includes(state);

function outcome({ state, error, result }) {
  if (error) return el('span', { class: 'problem' }, error);
  if (result?.groups !== undefined) return plural(result.groups, 'group');
  if (!result?.metrics) return result?.images === undefined ? state : plural(result.images, 'image');
  return `model ${result.model}: ${change(result.metrics.before, result.metrics.after)}${result.better === false ? '; it is no better' : ''}`;
}

/** Shows jobs in a place; `changed` is told when one is over. */
export async function jobs(place, signal, changed) {
  const shown = el('section', { class: 'job', hidden: true, 'aria-label': 'The job that is followed' });
  const rows = el('tbody', {});
  const start = el('button', { type: 'button', class: 'primary', onclick: () => fineTuning((job) => watch(job.id)) }, 'Teach it from the gallery');
  const fit = el('button', { type: 'button', onclick: () => adapting((job) => watch(job.id)) }, 'Fit the model to this gallery');
  const head = ['Job', 'Kind', 'Asked for', 'State', 'Outcome'];
  place.append(
    el('h2', {}, 'Jobs'), el('p', {}, 'Fitting learns, without labels, what the images of this gallery differ by: it takes minutes. Teaching learns their labels. Searches go on.'), el('div', { class: 'actions' }, fit, start), shown,
    el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Jobs' }, el('table', {}, el('thead', {}, el('tr', {}, head.map((name) => el('th', { scope: 'col' }, name)))), rows)));
  let watching = new AbortController();
  signal.addEventListener('abort', () => watching.abort());

  async function list() {
    const { jobs: all } = await ask('/admin/jobs?limit=20', { signal });
    rows.replaceChildren(...all.map((job) => el('tr', {},
      el('th', { scope: 'row' }, el('button', { type: 'button', class: 'link', onclick: () => watch(job.id) }, el('code', {}, job.id.slice(-12)))),
      el('td', {}, KINDS[job.kind] ?? job.kind), el('td', {}, moment(job.created_at_ms)), el('td', {}, job.state), el('td', {}, isOver(job) ? outcome(job) : ''))));
    return all;
  }

  async function watch(id) {
    watching.abort();
    watching = new AbortController();
    const mine = watching.signal;
    const state = el('p', { role: 'status' });
    const bar = el('progress', { max: 1, 'aria-label': 'Progress' });
    const drawn = curves();
    const cancel = el('button', { type: 'button', class: 'danger', onclick: () => ask(`/admin/jobs/${id}/cancel`, { method: 'POST' }).catch((error) => notice(words(error), 'problem')) }, 'Cancel');
    shown.replaceChildren(el('h3', {}, 'Job ', el('code', {}, id)), state, el('div', { class: 'row' }, bar, cancel), drawn.element);
    shown.hidden = false;

    function heard({ event, data }) {
      if (event !== 'progress') {
        state.textContent = event === 'queued' ? 'Waits for its turn' : event;
        return;
      }
      const { stage, epoch, epochs, step, steps, eta_seconds: eta, images_per_second: pace } = data;
      const parts = [STAGES[stage] ?? stage, epochs > 0 && `epoch ${epoch} of ${epochs}`, steps > 0 && `${step} of ${steps}`, pace && `${pace} images/s`, eta !== undefined && eta !== null && `about ${eta} s left`];
      state.textContent = parts.filter(Boolean).join(' · ');
      if (steps > 0) bar.value = step / steps;
      else bar.removeAttribute('value');
      drawn.add(data);
    }

    list();
    try {
      await follow(id, { heard, cut: (problem) => { state.textContent = words(problem) ?? ''; }, signal: mine });
    } catch (error) {
      notice(words(error), 'problem');
    }
    if (mine.aborted) return;
    const job = await ask(`/admin/jobs/${id}`, { signal });
    bar.value = 1;
    cancel.remove();
    state.replaceChildren(el('strong', {}, job.state), ' · ', outcome(job));
    await list();
    await changed();
    const next = job.result?.activation;
    if (next) watch(next);
  }

  const all = await list();
  const running = all.find((job) => !isOver(job));
  if (running) watch(running.id);
  return { watch };
}
