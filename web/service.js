// Speaks to the service: requests with the key, refusals in words, events as they happen. Knows HTTP, where the service is, and no view.

/** The path under which the service is: a proxy may give it one of its own, which is then the page's too. */
export const BASE = new URL('..', import.meta.url).pathname.slice(0, -1);

/** The path of an image, below that. */
export const pathOf = (id) => `/images/${encodeURIComponent(id)}`;

/** That of its original. */
export const contentOf = (id) => `${pathOf(id)}/content`;

/** Why the service did not do what was asked, in its own words where it has any. `status` is 0 where it did not answer. */
export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    Object.assign(this, { status, code });
  }
}

/** Words for what went wrong; none for what was aborted. */
export function words(error) {
  if (error instanceof Problem) return error.message;
  if (error?.name === 'AbortError') return undefined;
  console.error(error);
  return `The page failed: ${error?.message}`;
}

// In memory only: whoever closes the page takes it along.
let key = '';

export function setKey(text) {
  key = text.trim();
  dispatchEvent(new Event('key-changed'));
}

export const hasKey = () => key !== '';

const headersWith = (headers) => (key ? { ...headers, authorization: `Bearer ${key}` } : headers);

const silent = () => new Problem(0, 'unreachable', 'The service does not answer. It may have stopped, or the network is gone; try again in a moment.');

async function problemOf(answer) {
  const told = await answer.json().catch((error) => {
    if (error.name === 'AbortError') throw error;
    return {};
  });
  const wait = answer.headers.get('retry-after');
  const later = wait && answer.status !== 503 ? ` Try again in ${wait} s.` : '';
  const problem = new Problem(answer.status, told.code ?? 'unknown', `${told.detail ?? `The service answered ${answer.status}`}${later}`);
  if (answer.status === 401 || answer.status === 403) dispatchEvent(new CustomEvent('key-wanted', { detail: problem }));
  return problem;
}

/** The answer as it is, to a request to a path of the service that succeeded. Throws a Problem, or what `signal` aborts with. */
export async function send(path, { headers = {}, ...request } = {}) {
  const answer = await fetch(BASE + path, { ...request, headers: headersWith(headers) }).catch((error) => {
    throw error.name === 'AbortError' ? error : silent();
  });
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

/** The JSON of an answer; `json` is sent as a body. */
export async function ask(path, { json, headers = {}, ...request } = {}) {
  if (json !== undefined) {
    request = { method: 'POST', ...request, body: JSON.stringify(json) };
    headers = { ...headers, 'content-type': 'application/json' };
  }
  const answer = await send(path, { ...request, headers });
  return answer.status === 204 ? null : answer.json();
}

/** Sends a file and tells how much of it has gone, which fetch does not. */
export function upload(path, file, { progress, signal }) {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open('POST', BASE + path);
    for (const [name, value] of Object.entries(headersWith({ 'content-type': 'application/octet-stream' }))) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onerror = () => failed(silent());
    request.onload = async () => {
      const answer = new Response(request.responseText, { status: request.status, headers: { 'retry-after': request.getResponseHeader('retry-after') ?? '' } });
      if (answer.ok) done(await answer.json());
      else failed(await problemOf(answer));
    };
    signal.addEventListener('abort', () => { request.abort(); failed(signal.reason); });
    request.send(file);
  });
}

/** Server-sent events of a stream, each `{ id, event, data }`. EventSource does not send keys. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const blocks = (rest + part.value).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const event = {};
      for (const line of block.split('\n')) {
        const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
        if (name) event[name] = value;
      }
      if (event.data) yield { ...event, data: JSON.parse(event.data) };
    }
  }
}

const OVER = new Set(['succeeded', 'failed', 'cancelled']);

/** Tells what happens to a job, from its first event until it is over; goes on where a connection was cut. `cut` hears of that. */
export async function follow(id, { heard, cut, signal }) {
  let last;
  while (!signal.aborted) {
    try {
      const headers = last === undefined ? {} : { 'last-event-id': last };
      const answer = await send(`/admin/jobs/${id}/events`, { signal, headers });
      for await (const event of events(answer.body)) {
        last = event.id;
        heard(event);
        if (OVER.has(event.event)) return;
      }
    } catch (problem) {
      if (signal.aborted) return;
      if (problem instanceof Problem && problem.status >= 400 && problem.status < 500) throw problem;
      cut(problem);
    }
    await new Promise((after) => setTimeout(after, 1000));
  }
}
