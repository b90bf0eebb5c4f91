// The models view: which there are, which answers, two of them compared, and the jobs that make new ones. Knows models; jobs show themselves.
import { bytes, el, moment, notice } from './dom.js';
import { comparison, copies, quality } from './quality.js';
import { jobs } from './jobs.js';
import { ask, words } from './service.js';

export const title = 'Models';
const STATES = {
  active: 'answers searches',
  standby: 'has all its codes: it can answer at once',
  encoding: 'its codes are being made',
  stored: 'is kept, without codes',
};

export async function show(main, params, signal) {
  const table = el('tbody', {});
  const compared = el('div', { 'aria-live': 'polite' });
  const chosen = new Set();
  const head = ['Compare', 'Model', 'State', 'Trained from', 'Since', 'Quality', 'Size', 'Change'];
  const below = el('div', {});
  main.append(
    el('h1', {}, 'Models'),
    el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Models' }, el('table', {}, el('thead', {}, el('tr', {}, head.map((name) => el('th', { scope: 'col' }, name)))), table)),
    compared, below);

  const acted = async (what) => {
    try {
      await what();
    } catch (error) {
      notice(words(error), 'problem');
    }
    if (!signal.aborted) await list();
  };

  async function activate(id) {
    const { state, job } = await ask(`/admin/models/${id}/activate`, { method: 'POST' });
    if (state === 'active') notice(`Model ${id} answers now.`);
    if (job) running.watch(job.id);
  }

  function actions({ id, state }) {
    const button = (text, does, kind) => el('button', { type: 'button', class: kind, onclick: () => acted(does), 'aria-label': `${text}: ${id}` }, text);
    const activating = { standby: 'Go back to it', stored: 'Activate' }[state];
    return [
      activating && button(activating, () => activate(id)),
      state === 'standby' && button('Let its codes go', () => ask(`/admin/models/${id}/codes`, { method: 'DELETE' })),
      state === 'stored' && button('Delete', () => ask(`/admin/models/${id}`, { method: 'DELETE' }), 'danger'),
    ];
  }

  function row(model, all) {
    const { id, state, parent, created_at_ms: created, bytes: size } = model;
    const measured = quality(model);
    const worth = measured ? [el('small', {}, 'MAP by bits'), Object.entries(measured).map(([bits, { map }]) => el('div', {}, `${bits}: ${map.toFixed(3)}`))] : copies(model);
    const compare = el('input', { type: 'checkbox', checked: chosen.has(id), 'aria-label': `Compare ${id}`, onchange: () => {
      if (compare.checked) chosen.add(id);
      else chosen.delete(id);
      // Two at most; the one that was chosen first gives way.
      if (chosen.size > 2) chosen.delete([...chosen][0]);
      list();
    } });
    return el('tr', { class: state },
      el('td', {}, compare), el('th', { scope: 'row' }, el('code', {}, id)), el('td', {}, el('strong', {}, state), el('br'), el('small', {}, STATES[state])),
      el('td', {}, parent ? el('code', {}, parent) : '–', parent && !all.some((one) => one.id === parent) && el('small', {}, ' (deleted)')),
      el('td', {}, moment(created)), el('td', {}, worth), el('td', {}, bytes(size)), el('td', {}, el('div', { class: 'actions' }, actions(model))));
  }

  async function list() {
    const { models } = await ask('/admin/models', { signal });
    table.replaceChildren(...models.map((model) => row(model, models)));
    const two = models.filter((model) => chosen.has(model.id));
    compared.replaceChildren(...(two.length === 2 ? [comparison(...two)] : []));
  }

  await list();
  const running = await jobs(below, signal, list);
}
