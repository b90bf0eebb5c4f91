// Groups of copies, the largest first, and a way to have them found. Knows groups and the job that finds them; records show themselves.
import { count, el, moment, notice, plural } from './dom.js';
import { picture } from './picture.js';
import { open } from './record.js';
import { Problem, ask, contentOf, follow, words } from './service.js';

// Groups at a time, and the most of an answer.
const GROUPS = 12;
const MOST = 1000;
// The most copies of a group that an answer about several has.
const COPIES = 10;

function group({ images, oldest, copies }, changed) {
  const tile = (image) => el('li', {}, el('button', { type: 'button', onclick: () => open(image.id, { changed }) }, picture(contentOf(image.id), `${image.labels.join(', ')} ${image.id}`),
    el('span', { class: 'caption' }, image.similarity === undefined ? 'the oldest' : image.similarity.toFixed(3))));
  const gone = Math.min(images - 1, COPIES) - copies.length;
  const hidden = Math.max(images - 1 - COPIES, 0);
  const notes = [gone && `${count(gone)} deleted or changed since`, hidden && `${count(hidden)} not shown`].filter(Boolean);
  return el('section', { class: 'duplicates' }, el('h2', {}, plural(images, 'image'), ' ', el('small', {}, notes.join(', '))), el('ul', { class: 'grid small' }, [oldest, ...copies].map(tile)));
}

/** The groups, or the problem that there are none yet. */
async function groups(limit, signal) {
  try {
    return await ask(`/duplicates?limit=${limit}`, { signal });
  } catch (error) {
    if (error instanceof Problem && ['duplicates_not_found', 'no_thresholds'].includes(error.code)) return error;
    throw error;
  }
}

/** Returns a function that shows the groups in a place. Calls `changed` after an image was changed. */
export function duplicates(place, signal, changed) {
  let limit = GROUPS;
  const told = el('p', { role: 'status' });
  const start = el('button', { type: 'button', hidden: true, onclick: find });
  const shown = el('div', {});
  const more = el('button', { type: 'button', hidden: true, onclick: () => { limit = Math.min(limit + GROUPS, MOST); show(); } }, 'Show more groups');
  place.append(told, start, shown, more);

  async function show() {
    const found = await groups(limit, signal);
    start.textContent = found instanceof Problem ? 'Find them' : 'Find them again';
    start.hidden = found.code === 'no_thresholds';
    more.hidden = !(found.total > limit && limit < MOST);
    if (found instanceof Problem) {
      told.textContent = start.hidden ? found.message : 'Nobody has looked for copies yet.';
      shown.replaceChildren();
      return;
    }
    const { total, copies, images, stale, found_at_ms: at } = found;
    told.textContent = `${plural(copies, 'image')} of ${count(images)} ${copies === 1 ? 'is a copy' : 'are copies'} of an older one, in ${plural(total, 'group')}, as of ${moment(at)}.${stale ? ' The gallery has changed since.' : ''}`;
    shown.replaceChildren(...found.groups.map((one) => group(one, changed)));
  }

  /** Starts a job that finds them, shows its progress, then its groups. */
  async function find() {
    start.disabled = true;
    try {
      const { id } = await ask('/admin/jobs', { json: { kind: 'find_duplicates' }, signal });
      const heard = ({ event, data }) => {
        if (event === 'queued') told.textContent = 'Waits for its turn.';
        if (event === 'progress') told.textContent = `${count(data.step)} of ${plural(data.steps, 'image')} compared.`;
      };
      await follow(id, { heard, cut: (problem) => { told.textContent = words(problem) ?? ''; }, signal });
      const { state, error } = await ask(`/admin/jobs/${id}`, { signal });
      if (state !== 'succeeded') notice(error ?? `The job was ${state}.`, 'problem');
      await show();
    } catch (error) {
      notice(words(error), 'problem');
    }
    start.disabled = false;
  }

  return show;
}
