// Sends requests to the service, with the key, and reads its responses, problems and event streams.
import { pause } from './latest.js';

/**
 * A stored image's record.
 * @typedef {{
 *   id: string, codes: Record<string, string>, labels: string[], payload: unknown,
 *   media_type: string, bytes: number, created_at_ms: number, updated_at_ms: number,
 * }} Image
 */
/**
 * A stored image that a search found. `code` has the length of the query.
 * @typedef {{
 *   id: string, code: string, labels: string[], distance: number,
 *   similarity: number | null, relation: 'copy' | 'kin' | null,
 * }} Match
 */
/**
 * A search as the service ran it.
 * @typedef {{
 *   code: string, bits: number, radius: number | null, order: 'similarity' | 'distance',
 *   min_similarity: number | null, model: string,
 * }} SearchedQuery
 */
/**
 * @typedef {{
 *   query: SearchedQuery, total: number, matches: Match[], timing_ms: Record<string, number>,
 * }} SearchAnswer
 */
/**
 * @typedef {{
 *   id: string, kind: string, state: string, created_at_ms: number,
 *   error: string | null, result: any,
 * }} Job
 */
/**
 * A model of the registry. openapi.yaml documents its `card`.
 * @typedef {{
 *   id: string, state: string, parent: string | null, created_at_ms: number,
 *   bytes: number, card: any,
 * }} Model
 */
/** @typedef {{ id?: string, event?: string, data: any }} StreamEvent */
/** @typedef {Omit<RequestInit, 'headers'> & { headers?: Record<string, string> }} RequestOptions */

/** Path of the service, '' or '/prefix'; a proxy may serve it below a prefix. */
export const BASE = new URL('..', import.meta.url).pathname.slice(0, -1);

const RECONNECT_DELAY = 1000; // ms
const FINAL_STATES = ['succeeded', 'failed', 'cancelled'];

// Kept in memory only, so that closing the page deletes it.
let key = '';

/**
 * Returns the path of an image, below BASE.
 * @param {string} id
 */
export const imagePath = (id) => `/images/${encodeURIComponent(id)}`;

/**
 * Returns the path of an image's original, below BASE.
 * @param {string} id
 */
export const originalPath = (id) => `${imagePath(id)}/content`;

/** A request that failed. `status` is 0 if the service did not answer. */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {string} code of the problem, as openapi.yaml lists them
   * @param {string} detail
   */
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }

  /** True if the service refused the request (status 4xx). */
  get isRefusal() {
    return this.status >= 400 && this.status < 500;
  }
}

/**
 * Returns the text to show for an error, or '' if it comes from an aborted request.
 * @param {any} error
 */
export function messageOf(error) {
  if (error instanceof Problem) return error.message;
  if (error?.name === 'AbortError') return '';
  console.error(error);
  return `The page failed: ${error?.message}`;
}

/** @param {string} text */
export function setKey(text) {
  key = text.trim();
  dispatchEvent(new Event('key-changed'));
}

export const hasKey = () => key !== '';

/** @param {Job} job */
export const isFinished = (job) => FINAL_STATES.includes(job.state);

/** @param {Record<string, string>} headers */
const withKey = (headers) => (key ? { ...headers, authorization: `Bearer ${key}` } : headers);

const unreachable = () =>
  new Problem(
    0,
    'unreachable',
    'The service does not answer. It may have stopped or the network may be down; try again in a moment.',
  );

/** @param {Response} response */
async function problemOf(response) {
  const body = await response.json().catch((error) => {
    if (error.name === 'AbortError') throw error;
    return {};
  });
  const wait = response.headers.get('retry-after');
  const retry = wait && response.status !== 503 ? ` Try again in ${wait} s.` : '';
  const detail = body.detail ?? `The service answered ${response.status}`;
  const problem = new Problem(response.status, body.code ?? 'unknown', `${detail}${retry}`);
  if (response.status === 401 || response.status === 403) {
    dispatchEvent(new CustomEvent('key-wanted', { detail: problem }));
  }
  return problem;
}

/** @param {Response} response */
async function jsonOf(response) {
  if (!response.ok) throw await problemOf(response);
  return response.status === 204 ? null : response.json();
}

/**
 * @param {string} path
 * @param {RequestOptions} options
 */
async function request(path, { headers = {}, ...options }) {
  return await fetch(BASE + path, { ...options, headers: withKey(headers) }).catch((error) => {
    throw error.name === 'AbortError' ? error : unreachable();
  });
}

/**
 * Returns the response to a successful request.
 * Rejects with a Problem, or an AbortError if `signal` aborts.
 * @param {string} path below BASE
 * @param {RequestOptions} [options]
 */
export async function send(path, options = {}) {
  const response = await request(path, options);
  if (!response.ok) throw await problemOf(response);
  return response;
}

/**
 * Returns the JSON of a response, null for an empty one; rejects as `send` does.
 * Posts `json` if it is given.
 * @param {string} path below BASE
 * @param {RequestOptions & { json?: unknown }} [options]
 * @returns {Promise<any>}
 */
export async function ask(path, { json, headers = {}, ...options } = {}) {
  if (json !== undefined) {
    options = { method: 'POST', ...options, body: JSON.stringify(json) };
    headers = { ...headers, 'content-type': 'application/json' };
  }
  return jsonOf(await request(path, { ...options, headers }));
}

/**
 * Posts a file and returns the JSON of the response; rejects as `send` does.
 * Uses XMLHttpRequest, because fetch does not report progress.
 * @param {string} path below BASE
 * @param {Blob} file
 * @param {{ onProgress: (share: number) => void, signal: AbortSignal }} options
 * @returns {Promise<any>}
 */
export function upload(path, file, { onProgress, signal }) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const xhr = new XMLHttpRequest();
    const abort = () => {
      xhr.abort();
      reject(signal.reason);
    };
    xhr.open('POST', BASE + path);
    const headers = withKey({ 'content-type': 'application/octet-stream' });
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    xhr.onerror = () => reject(unreachable());
    xhr.onload = () => {
      const answered = { 'retry-after': xhr.getResponseHeader('retry-after') ?? '' };
      resolve(jsonOf(new Response(xhr.responseText, { status: xhr.status, headers: answered })));
    };
    xhr.onloadend = () => signal.removeEventListener('abort', abort);
    signal.addEventListener('abort', abort, { once: true });
    xhr.send(file);
  });
}

/**
 * Yields the server-sent events of a stream. EventSource cannot send the key.
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {AsyncGenerator<StreamEvent>}
 */
async function* eventsOf(stream) {
  const reader = stream.pipeThrough(/** @type {any} */ (new TextDecoderStream())).getReader();
  let rest = '';
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const blocks = (rest + part.value).split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      /** @type {Record<string, string>} */
      const fields = {};
      for (const line of block.split('\n')) {
        const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (name) fields[name] = value;
      }
      if (fields.data) yield { ...fields, data: JSON.parse(fields.data) };
    }
  }
}

/**
 * Follows a job until it is finished; resumes after the last event if the connection breaks.
 * Rejects with a Problem if the service refuses, or with an AbortError if `signal` aborts.
 * @param {string} id
 * @param {{
 *   onEvent: (event: StreamEvent) => void, onDisconnect: (error: any) => void, signal: AbortSignal,
 * }} options
 */
export async function followJob(id, { onEvent, onDisconnect, signal }) {
  let lastId;
  for (;;) {
    try {
      /** @type {Record<string, string>} */
      const headers = lastId === undefined ? {} : { 'last-event-id': lastId };
      const { body } = await send(`/admin/jobs/${id}/events`, { signal, headers });
      for await (const event of body ? eventsOf(body) : []) {
        lastId = event.id;
        onEvent(event);
        if (FINAL_STATES.includes(event.event ?? '')) return;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof Problem && error.isRefusal) throw error;
      onDisconnect(error);
    }
    await pause(RECONNECT_DELAY, signal);
  }
}
