// The form that adds files to the gallery. Uploads several at a time and shows each one's progress.
import { el, field, onFiles } from './dom.js';
import { plural, splitLabels } from './format.js';
import { pause } from './latest.js';
import { messageOf, Problem, upload } from './service.js';

const MAX_UPLOADS = 4; // at the same time
const MAX_TRIES = 20;
const RETRY_DELAY = 500; // ms
// Statuses of a service that is busy.
const RETRIED = [429, 503];

/**
 * Uploads a file, again while the service is busy.
 * @param {File} file
 * @param {string[]} labels
 * @param {{ onProgress: (share: number) => void, signal: AbortSignal }} options
 */
async function uploadWithRetry(file, labels, { onProgress, signal }) {
  const params = new URLSearchParams(labels.map((label) => ['label', label]));
  for (let tries = 1;; tries++) {
    try {
      return await upload(`/images?${params}`, file, { onProgress, signal });
    } catch (error) {
      if (!(error instanceof Problem) || !RETRIED.includes(error.status) || tries === MAX_TRIES) throw error;
    }
    await pause(RETRY_DELAY, signal);
  }
}

/** A file with its row in the list. */
class FileRow {
  /**
   * @param {File} file
   * @param {string[]} labels
   */
  constructor(file, labels) {
    this.file = file;
    this.labels = labels;
    this.progress = el('progress', { max: 1, value: 0, 'aria-label': `Sending ${file.name}` });
    this.state = el('span', {}, 'waiting');
    this.element = el('li', {}, el('span', { class: 'name' }, file.name), this.progress, this.state);
  }

  /**
   * Uploads the file and shows its state. Returns true if the service stored it.
   * @param {AbortSignal} signal
   */
  async upload(signal) {
    this.state.textContent = 'sending';
    try {
      const onProgress = (/** @type {number} */ share) => {
        this.progress.value = share;
      };
      await uploadWithRetry(this.file, this.labels, { onProgress, signal });
      this.progress.value = 1;
      this.state.textContent = 'stored';
      return true;
    } catch (error) {
      this.progress.remove();
      this.state.className = 'problem';
      this.state.textContent = messageOf(error) || 'not sent';
      return false;
    }
  }
}

export class UploadForm {
  /**
   * @param {AbortSignal} signal
   * @param {() => unknown} onStored runs when all files are sent and at least one is stored
   */
  constructor(signal, onStored) {
    this.signal = signal;
    this.onStored = onStored;
    // Files that are added during an upload join its batch.
    this.batch = { total: 0, stored: 0, refused: 0 };
    /** @type {FileRow[]} */
    this.waiting = [];
    this.running = 0;
    this.labels = el('input', { autocomplete: 'off' });
    this.summary = el('p', { role: 'status' });
    this.list = el('ul', { class: 'files' });
    const input = el('input', {
      type: 'file',
      multiple: true,
      accept: 'image/*',
      onchange: () => {
        this.#add([...input.files ?? []]);
        input.value = '';
      },
    });
    this.element = el(
      'details',
      { class: 'drop', open: true },
      el('summary', {}, 'Add images'),
      el(
        'div',
        { class: 'bar' },
        field('Drop, paste or choose files', input),
        field('Labels for these files', this.labels, 'Optional, separated by commas.'),
      ),
      this.summary,
      this.list,
    );
    onFiles(signal, (files) => this.#add(files));
  }

  /** @param {File[]} files */
  #add(files) {
    if (files.length === 0) return;
    this.element.open = true;
    if (this.running === 0) {
      this.batch = { total: 0, stored: 0, refused: 0 };
      this.list.replaceChildren();
    }
    const labels = splitLabels(this.labels.value);
    const rows = files.map((file) => new FileRow(file, labels));
    this.batch.total += rows.length;
    this.waiting.push(...rows);
    this.list.append(...rows.map((row) => row.element));
    while (this.running < MAX_UPLOADS && this.waiting.length > 0) this.#run();
  }

  async #run() {
    this.running += 1;
    for (let row = this.waiting.shift(); row && !this.signal.aborted; row = this.waiting.shift()) {
      if (await row.upload(this.signal)) this.batch.stored += 1;
      else this.batch.refused += 1;
      this.#showSummary('…');
    }
    this.running -= 1;
    if (this.running > 0 || this.signal.aborted) return;
    const { stored, refused } = this.batch;
    this.#showSummary(refused ? `, ${refused} refused.` : '.');
    if (stored) await this.onStored();
  }

  /** @param {string} end */
  #showSummary(end) {
    const { stored, total } = this.batch;
    this.summary.textContent = `${stored} of ${plural(total, 'file')} stored${end}`;
  }
}
