// The panel of duplicates: groups of images that are copies of each other, the largest first, among
// the images that the gallery selects. Starts and follows the job that finds them.
import { button, el, notice } from './dom.js';
import { isFilterProblem } from './filter-input.js';
import { count, localTime, plural } from './format.js';
import { latest } from './latest.js';
import { picture } from './picture.js';
import { openRecord } from './record.js';
import { ask, followJob, messageOf, originalPath, Problem } from './service.js';

/** @typedef {{ id: string, labels: string[], similarity?: number }} GroupImage */
/** @typedef {{ images: number, oldest: GroupImage, copies: GroupImage[] }} Group */
/**
 * @typedef {{
 *   groups: Group[], total: number, copies: number, images: number,
 *   stale: boolean, found_at_ms: number,
 * }} Duplicates
 */

const GROUPS_STEP = 12;
// Limits of openapi.yaml: groups in a response, and copies in each of its groups.
const MAX_GROUPS = 1000;
const MAX_COPIES = 10;

/**
 * @param {Duplicates} duplicates
 * @param {boolean} isSelection true if a label or a filter selects the images
 */
function summaryText({ total, copies, images, stale, found_at_ms: found }, isSelection) {
  const verb = copies === 1 ? 'is a copy' : 'are copies';
  const all = isSelection ? `the ${count(images)} selected here` : count(images);
  const share = `${plural(copies, 'image')} of ${all} ${verb} of an older one`;
  const change = stale ? ' The gallery has changed since.' : '';
  return `${share}, in ${plural(total, 'group')}, as of ${localTime(found)}.${change}`;
}

export class DuplicatesPanel {
  /**
   * @param {AbortSignal} signal
   * @param {() => unknown} onEdit runs after an image of a group is changed or deleted
   * @param {() => URLSearchParams} selection returns the label and the filter of the gallery
   */
  constructor(signal, onEdit, selection) {
    this.signal = signal;
    this.onEdit = onEdit;
    this.selection = selection;
    this.limit = GROUPS_STEP;
    this.load = latest(signal, (own) => this.#load(own));
    this.status = el('p', { role: 'status' });
    this.start = button('', () => this.#find(), { hidden: true });
    this.groups = el('div');
    this.more = button('Show more groups', () => this.#showMore(), { hidden: true });
    this.element = el(
      'details',
      { ontoggle: () => this.refresh() },
      el('summary', {}, 'Duplicates: images that are copies of each other'),
      el('div', {}, this.status, this.start, this.groups, this.more),
    );
  }

  /** Loads the groups again if the panel is open. */
  async refresh() {
    if (this.element.open) await this.load();
  }

  #showMore() {
    this.limit = Math.min(this.limit + GROUPS_STEP, MAX_GROUPS);
    return this.load();
  }

  /** @param {AbortSignal} signal */
  async #load(signal) {
    const params = this.selection();
    const isSelection = String(params) !== '';
    params.set('limit', String(this.limit));
    try {
      const found = await ask(`/duplicates?${params}`, { signal });
      signal.throwIfAborted();
      this.#show(found, isSelection);
    } catch (error) {
      // The gallery shows what is wrong with its filter.
      if (isFilterProblem(error)) return;
      const code = error instanceof Problem ? error.code : '';
      if (!['duplicates_not_found', 'no_thresholds'].includes(code)) throw error;
      const cannotFind = code === 'no_thresholds';
      this.status.textContent = cannotFind ? messageOf(error) : 'Duplicates have not been searched for yet.';
      this.start.textContent = 'Find duplicates';
      this.start.hidden = cannotFind;
      this.more.hidden = true;
      this.groups.replaceChildren();
    }
  }

  /**
   * @param {Duplicates} found
   * @param {boolean} isSelection
   */
  #show(found, isSelection) {
    this.status.textContent = summaryText(found, isSelection);
    this.start.textContent = 'Find duplicates again';
    this.start.hidden = false;
    this.more.hidden = found.total <= this.limit || this.limit === MAX_GROUPS;
    this.groups.replaceChildren(...found.groups.map((group) => this.#group(group)));
  }

  /** @param {Group} group */
  #group({ images, oldest, copies }) {
    const gone = Math.min(images - 1, MAX_COPIES) - copies.length;
    const hidden = Math.max(images - 1 - MAX_COPIES, 0);
    const notes = [gone && `${count(gone)} deleted or changed since`, hidden && `${count(hidden)} not shown`];
    return el(
      'section',
      { class: 'duplicates' },
      el('h2', {}, plural(images, 'image'), ' ', el('small', {}, notes.filter(Boolean).join(', '))),
      el('ul', { class: 'grid small' }, [oldest, ...copies].map((image) => this.#tile(image))),
    );
  }

  /** @param {GroupImage} image the oldest of its group if it has no similarity */
  #tile({ id, labels, similarity }) {
    const { onEdit, signal } = this;
    const caption = similarity === undefined ? 'the oldest' : similarity.toFixed(3);
    const content = [
      picture(originalPath(id), `${labels.join(', ')} ${id}`, signal),
      el('span', { class: 'caption' }, caption),
    ];
    return el('li', {}, button(content, () => openRecord(id, { onEdit, signal })));
  }

  /** Starts a job that finds duplicates; shows its progress, then the groups. */
  async #find() {
    const { signal } = this;
    this.start.disabled = true;
    try {
      const { id } = await ask('/admin/jobs', { json: { kind: 'find_duplicates' }, signal });
      await followJob(id, {
        onEvent: (event) => this.#showProgress(event),
        onDisconnect: (error) => {
          this.status.textContent = messageOf(error);
        },
        signal,
      });
      const { state, error } = await ask(`/admin/jobs/${id}`, { signal });
      if (state !== 'succeeded') notice(error ?? `The job was ${state}.`, 'problem');
      await this.load();
    } finally {
      this.start.disabled = false;
    }
  }

  /** @param {import('./service.js').StreamEvent} event */
  #showProgress({ event, data }) {
    if (event === 'queued') this.status.textContent = 'Queued.';
    if (event === 'progress') {
      this.status.textContent = `${count(data.step)} of ${plural(data.steps, 'image')} compared.`;
    }
  }
}
