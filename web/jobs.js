// The panel of jobs: starts one, follows one while it runs, and lists the latest.
import { CurveCharts } from './curves.js';
import { button, el, wideTable } from './dom.js';
import { count, localTime, plural } from './format.js';
import { latest } from './latest.js';
import { changeText } from './quality.js';
import { ask, followJob, isFinished, messageOf } from './service.js';
import { openAdaptForm, openFineTuneForm } from './training.js';

/** @typedef {import('./service.js').Job} Job */
/** @typedef {import('./service.js').StreamEvent} StreamEvent */

const INTRODUCTION = 'Adapting learns, without labels, how the images of this gallery differ; it takes minutes. ' +
  'Teaching learns their labels. Searches continue meanwhile.';
const MAX_JOBS = 20;
const HEADINGS = ['Job', 'Kind', 'Requested', 'State', 'Outcome'];
/** @type {Record<string, string>} */
const KINDS = {
  fine_tune: 'Fine-tuning',
  adapt: 'Adapting to the gallery',
  reencode: 'Re-encoding',
  find_duplicates: 'Finding duplicates',
  build_field: 'Building a field',
  delete_images: 'Deleting by a filter',
  change_images: 'Changing by a filter',
};
/** @type {Record<string, string>} */
const STAGES = {
  export: 'copying images',
  measure: 'measuring',
  features: 'computing features',
  'warm-up': 'training the policies',
  joint: 'training both networks',
  encode: 'encoding',
  compare: 'comparing',
  build: 'reading payloads',
  delete: 'deleting',
  change: 'changing',
};

/**
 * Returns what became of the images that passed a filter.
 * @param {Record<string, number>} result of a deletion or a change
 */
function filteredText({ deleted, changed, kept, gone, refused_count: refused }) {
  const parts = [
    deleted === undefined ? `${plural(changed, 'image')} changed` : `${plural(deleted, 'image')} deleted`,
    kept > 0 && `${count(kept)} kept, which no longer passed`,
    gone > 0 && `${count(gone)} already deleted`,
    refused > 0 && `${count(refused)} refused, whose labels or payload would be too large`,
  ];
  return parts.filter(Boolean).join('; ');
}

/** @param {Job} job a finished one */
function outcome({ state, error, result }) {
  if (error) return el('span', { class: 'problem' }, error);
  if (result?.groups !== undefined) return plural(result.groups, 'group');
  if (result?.kept !== undefined) return filteredText(result);
  if (!result?.metrics) return result?.images === undefined ? state : plural(result.images, 'image');
  const { before, after } = result.metrics;
  return `model ${result.model}: ${changeText(before, after)}${result.better === false ? '; not better' : ''}`;
}

/** @param {any} progress of a job, as its events carry it */
function progressText({ stage, epoch, epochs, step, steps, eta_seconds: eta, images_per_second: pace }) {
  const parts = [
    STAGES[stage] ?? stage,
    epochs > 0 && `epoch ${epoch} of ${epochs}`,
    steps > 0 && `${step} of ${steps}`,
    pace && `${pace} images/s`,
    typeof eta === 'number' && `about ${eta} s left`,
  ];
  return parts.filter(Boolean).join(' · ');
}

/** A job that is followed. */
class FollowedJob {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.status = el('p', { role: 'status' });
    this.progress = el('progress', { max: 1, 'aria-label': 'Progress' });
    this.cancel = button('Cancel', () => ask(`/admin/jobs/${id}/cancel`, { method: 'POST' }), { class: 'danger' });
    this.charts = new CurveCharts();
    this.elements = [
      el('p', {}, el('strong', {}, 'Job '), el('code', {}, id)),
      this.status,
      el('div', { class: 'row' }, this.progress, this.cancel),
      this.charts.element,
    ];
  }

  /** @param {StreamEvent} event */
  showEvent({ event = '', data }) {
    if (event !== 'progress') {
      this.status.textContent = event;
      return;
    }
    this.status.textContent = progressText(data);
    if (data.steps > 0) this.progress.value = data.step / data.steps;
    else this.progress.removeAttribute('value');
    this.charts.add(data);
  }

  /** @param {Job} job */
  showOutcome(job) {
    this.progress.value = 1;
    this.cancel.remove();
    this.status.replaceChildren(el('strong', {}, job.state), ' · ', outcome(job));
  }
}

/**
 * Shows a job in a section until it is finished, and returns it.
 * @param {HTMLElement} section
 * @param {string} id
 * @param {AbortSignal} signal
 * @returns {Promise<Job>}
 */
export async function showJob(section, id, signal) {
  const followed = new FollowedJob(id);
  section.replaceChildren(...followed.elements);
  section.hidden = false;
  await followJob(id, {
    onEvent: (event) => followed.showEvent(event),
    onDisconnect: (error) => {
      followed.status.textContent = messageOf(error);
    },
    signal,
  });
  const job = await ask(`/admin/jobs/${id}`, { signal });
  signal.throwIfAborted();
  followed.showOutcome(job);
  return job;
}

/** Creates the section that `showJob` shows a job in. */
export const jobSection = () => el('section', { class: 'job', hidden: true, 'aria-label': 'The job that is followed' });

export class JobsPanel {
  /**
   * @param {AbortSignal} signal
   * @param {() => Promise<unknown>} onFinish runs when the followed job is finished
   */
  constructor(signal, onFinish) {
    this.onFinish = onFinish;
    this.load = latest(signal, (own) => this.#load(own));
    this.follow = latest(signal, (own, /** @type {string} */ id) => this.#follow(own, id));
    this.followed = jobSection();
    this.rows = el('tbody');
    const onStarted = (/** @type {Job} */ job) => this.follow(job.id);
    const adapt = button('Adapt the model to this gallery', () => openAdaptForm(onStarted));
    const fineTune = button('Teach it from the gallery', () => openFineTuneForm(onStarted), { class: 'primary' });
    this.element = el(
      'div',
      {},
      el('h2', {}, 'Jobs'),
      el('p', {}, INTRODUCTION),
      el('div', { class: 'actions' }, adapt, fineTune),
      this.followed,
      wideTable('Jobs', HEADINGS, this.rows),
    );
  }

  /** Lists the jobs and follows one that is not finished. */
  async start() {
    const jobs = await this.load();
    const unfinished = jobs?.find((job) => !isFinished(job));
    if (unfinished) this.follow(unfinished.id);
  }

  /** @param {AbortSignal} signal */
  async #load(signal) {
    /** @type {{ jobs: Job[] }} */
    const { jobs } = await ask(`/admin/jobs?limit=${MAX_JOBS}`, { signal });
    signal.throwIfAborted();
    this.rows.replaceChildren(...jobs.map((job) => this.#row(job)));
    return jobs;
  }

  /** @param {Job} job */
  #row(job) {
    const shortId = el('code', {}, job.id.slice(-12));
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, button(shortId, () => this.follow(job.id), { class: 'link' })),
      el('td', {}, KINDS[job.kind] ?? job.kind),
      el('td', {}, localTime(job.created_at_ms)),
      el('td', {}, job.state),
      el('td', {}, isFinished(job) && outcome(job)),
    );
  }

  /**
   * Shows a job until it is finished, then the job that activates its model, if there is one.
   * @param {AbortSignal} signal
   * @param {string} id
   */
  async #follow(signal, id) {
    this.load();
    const job = await showJob(this.followed, id, signal);
    await Promise.all([this.load(), this.onFinish()]);
    signal.throwIfAborted();
    if (job.result?.activation) this.follow(job.result.activation);
  }
}
