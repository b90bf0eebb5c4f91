// Holds the query of a search as plain state, and converts it to an address and to a request.
// Pure: sends nothing and touches no element.

/**
 * The image or code to search with. It is one of these:
 * - a stored image, by its `id`; the service knows its codes;
 * - a picture that must be encoded: a `file`, or the part `box` of the file or stored image;
 * - `codes` alone, by length, with the `sketch` of the `model` that made them if it is known.
 * A picture gets `codes`, `sketch` and `model` when it is encoded.
 * @typedef {{
 *   id?: string, file?: Blob & { name?: string }, box?: import('./box.js').Box,
 *   codes?: Record<string, string>, sketch?: string | null, model?: string | null,
 * }} Subject
 */
/**
 * The state of a search. Searches the nearest images if `radius` is null.
 * `relation`, `label` and `filter` are '' if they do not matter.
 * @typedef {{
 *   subject?: Subject, bits: number, radius: number | null, relation: string,
 *   limit: number, label: string, filter: string,
 * }} Query
 */
/**
 * @typedef {{
 *   id: string, lengths: number[], hasSketches: boolean, thresholds: Record<string, number> | null,
 * }} ActiveModel
 */

const DEFAULT_LIMIT = 50;

/** Relations that a search may require, the loosest first. */
export const RELATIONS = ['', 'kin', 'copy'];

/**
 * Returns true if the service searches with the codes that it stores for the subject.
 * @param {Subject} subject
 */
export const isStored = ({ id, box }) => Boolean(id && !box);

/**
 * Returns true if the subject is a picture without codes.
 * @param {Subject} subject
 */
export const needsEncoding = (subject) => !subject.codes && !isStored(subject);

/**
 * Returns true if the subject has a code of this length, or can get one.
 * @param {Subject} subject
 * @param {number} bits
 */
export const canHaveLength = ({ id, file, codes }, bits) => Boolean(id || file || codes?.[bits]);

/**
 * Returns true if the active model can compare the subject by similarity.
 * It needs a sketch that it made itself.
 * @param {Subject} subject
 * @param {ActiveModel} active
 */
export const canCompare = (subject, active) =>
  active.hasSketches && (isStored(subject) || Boolean(subject.sketch && subject.model === active.id));

/**
 * Returns true if the active model has a threshold for a relation, or if no relation is required.
 * @param {string} relation
 * @param {ActiveModel} active
 */
export const hasThreshold = (relation, active) => relation === '' || typeof active.thresholds?.[relation] === 'number';

/**
 * Returns the subject with another part of its picture, or the whole one. It must be encoded again.
 * @param {Subject} subject
 * @param {import('./box.js').Box} [box]
 * @returns {Subject}
 */
export const withBox = ({ id, file }, box) => ({ id, file, box });

/**
 * Returns the subject for the active model: a picture that another model encoded loses its codes.
 * @param {Subject} subject
 * @param {ActiveModel} active
 */
export const forModel = (subject, active) =>
  subject.file && subject.model !== active.id ? withBox(subject, subject.box) : subject;

/**
 * Returns the query with changes.
 * Clamps the radius to the length, and drops a relation that the active model has no threshold for.
 * @param {Query} query
 * @param {Partial<Query>} changes
 * @param {ActiveModel} active
 * @returns {Query}
 */
export function withChanges(query, changes, active) {
  const { radius, relation, ...rest } = { ...query, ...changes };
  return {
    ...rest,
    radius: radius === null ? null : Math.min(radius, rest.bits),
    relation: hasThreshold(relation, active) ? relation : '',
  };
}

/**
 * @param {URLSearchParams} params
 * @param {number[]} lengths
 * @returns {Subject | undefined}
 */
function subjectOf(params, lengths) {
  const id = params.get('id');
  if (id) return { id };
  const code = params.get('code') ?? '';
  const bits = code.length * 4;
  if (!/^[0-9a-f]+$/i.test(code) || !lengths.includes(bits)) return undefined;
  return { codes: { [bits]: code }, sketch: params.get('sketch'), model: params.get('model') };
}

/**
 * Returns a parameter that is an unsigned integer, or null.
 * @param {URLSearchParams} params
 * @param {string} name
 */
function numberOf(params, name) {
  const text = params.get(name) ?? '';
  return /^\d+$/.test(text) ? Number(text) : null;
}

/**
 * Reads the query from the parameters of an address.
 * @param {URLSearchParams} params
 * @param {ActiveModel} active
 * @returns {Query}
 */
export function readQuery(params, active) {
  const { lengths } = active;
  const subject = subjectOf(params, lengths);
  const bits = Number(subject?.codes ? Object.keys(subject.codes)[0] : params.get('bits'));
  const query = {
    subject,
    bits: lengths.includes(bits) ? bits : Math.max(...lengths),
    radius: numberOf(params, 'radius'),
    relation: params.get('relation') ?? '',
    limit: numberOf(params, 'limit') ?? DEFAULT_LIMIT,
    label: params.get('label') ?? '',
    filter: params.get('filter') ?? '',
  };
  return withChanges(query, {}, active);
}

/**
 * Returns the address of a query. A picture is given by its code and sketch.
 * @param {Query} query with a subject that is encoded
 */
export function addressOf({ subject = {}, bits, radius, relation, limit, label, filter }) {
  const { id, codes, sketch, model } = subject;
  const params = isStored(subject) ? { id, bits } : { code: codes?.[bits], sketch, model };
  const all = Object.entries({ ...params, radius, relation, limit, label, filter });
  const given = all.filter(([, value]) => value !== '' && value !== null && value !== undefined);
  return `#search?${new URLSearchParams(/** @type {[string, string][]} */ (given))}`;
}

/**
 * Returns the request of a query to the active model: the path, and the JSON to post to it.
 * @param {Query} query with a subject
 * @param {ActiveModel} active
 */
export function requestOf({ subject = {}, bits, radius, relation, limit, label, filter }, active) {
  const params = new URLSearchParams({ bits: String(bits), limit: String(limit) });
  const isCompared = canCompare(subject, active);
  const minSimilarity = active.thresholds?.[relation];
  if (typeof minSimilarity === 'number' && isCompared) params.append('min_similarity', String(minSimilarity));
  if (radius !== null) params.append('radius', String(radius));
  if (label) params.append('label', label);
  if (filter) params.append('filter', filter);
  const { id, codes, sketch, model } = subject;
  const byCode = { code: codes?.[bits], ...(isCompared && { sketch, model }) };
  return { path: `/search?${params}`, json: isStored(subject) ? { id } : byCode };
}

/**
 * Returns the parameter that restricts a picture to the subject's part, '' for the whole picture.
 * @param {Subject} subject
 */
export const boxParameter = ({ box }) => (box ? `box=${box}` : '');
