// Groups of copies, the largest first, and a way to have them found. Knows groups and the job that finds them; records show themselves.
import { count, el, moment, notice, plural } from './dom.js';
import { picture } from './picture.js';
import { open } from './record.js';
import { Problem, ask, follow, words } from './service.js';

const GROUPS = 12;
const SHOWN = 8;

function group({ images, oldest, copies }, changed) {
  const tile = (image) => el('li', {}, el('button', { type: 'button', onclick: () => open(image.id, { changed }) }, picture(image.content_url, `${image.labels.join(', ')} ${image.id}`),
    el('span', { class: 'caption' }, image.similarity === undefined ? 'the oldest' : image.similarity.toFixed(3))));
  return el('section', { class: 'duplicates' }, el('h3', {}, plural(images, 'image')), el('ul', { class: 'grid small' }, [oldest, ...copies.slice(0, SHOWN - 1)].map(tile)));
}

/** The groups, or the problem that there are none yet. */
async function groups(signal) {
  try {
    return await ask(`/duplicates?limit=${GROUPS}`, { signal });
  } catch (error) {
    if (error instanceof Problem && ['duplicates_not_found', 'no_thresholds'].includes(error.code)) return error;
    throw error;
  }
}

export async function duplicates(place, signal, changed) {
  const found = await groups(signal);
  const again = () => duplicates(place, signal, changed);
  const start = el('button', { type: 'button', onclick: () => find(start, signal, again) }, found instanceof Problem ? 'Find them' : 'Find them again');
  if (found instanceof Problem) {
    const none = found.code === 'no_thresholds' ? found.message : 'Nobody has looked for copies yet.';
    place.replaceChildren(el('p', {}, none), ...(found.code === 'no_thresholds' ? [] : [start]));
    return;
  }
  const { total, copies, images, stale, found_at_ms: at, groups: shown } = found;
  const summary = `${plural(copies, 'image')} of ${count(images)} ${copies === 1 ? 'is a copy' : 'are copies'} of an older one, in ${plural(total, 'group')}, as of ${moment(at)}.`;
  place.replaceChildren(el('p', {}, summary, stale && ' The gallery has changed since.', ' ', start), ...shown.map((one) => group(one, changed)));
}

/** Has a job find them, tells how far it is on the button, and then shows what it found. */
async function find(button, signal, again) {
  button.disabled = true;
  try {
    const { id } = await ask('/admin/jobs', { json: { kind: 'find_duplicates' }, signal });
    const heard = ({ event, data }) => {
      button.textContent = event === 'progress' ? `${count(data.step)} of ${plural(data.steps, 'image')}` : event;
    };
    await follow(id, { heard, cut: (problem) => { button.textContent = words(problem) ?? ''; }, signal });
    const { state, error } = await ask(`/admin/jobs/${id}`, { signal });
    if (state !== 'succeeded') notice(error ?? `The job was ${state}.`, 'problem');
    await again();
  } catch (error) {
    button.disabled = false;
    notice(words(error) ?? '', 'problem');
  }
}
