// What is searched for, as an address to come back to and as a request: `{ subject, bits, radius, relation, limit, label }`. The subject is a
// `file`, a stored image's `id`, or `codes` with or without the `sketch` and `model` that came with them; a picture has these three once it is
// encoded, and `box` where a part of it is meant. Without a radius the nearest are; with a relation, only copies, or only copies and images of the same kind.
// Knows parameters and asks nobody.

const LIMIT = 50;

/** Whether a subject is searched for by the codes that the service has of it. */
export const isStored = ({ id, box }) => Boolean(id && !box);

/** Whether the active model can compare a subject: with no sketch but its own. */
export const isCompared = ({ subject }, active) => active.sketches && Boolean(isStored(subject) || (subject.sketch && subject.model === active.id));

/** What the address asks for. */
export function read(params, lengths) {
  const number = (name, otherwise) => (/^\d+$/.test(params.get(name)) ? Number(params.get(name)) : otherwise);
  const given = params.get('code') ?? '';
  const code = /^[0-9a-f]+$/i.test(given) && lengths.includes(given.length * 4) && given;
  const bits = code ? code.length * 4 : Number(params.get('bits'));
  const subject = params.get('id') ? { id: params.get('id') } : code ? { codes: { [bits]: code }, sketch: params.get('sketch'), model: params.get('model') } : undefined;
  return { subject, bits: lengths.includes(bits) ? bits : Math.max(...lengths), radius: number('radius', null), relation: params.get('relation') ?? '', limit: number('limit', LIMIT), label: params.get('label') ?? '' };
}

/** The same as an address. */
export function write({ subject, bits, radius, relation, limit, label }) {
  const { id, codes, sketch, model } = subject;
  const all = { ...(isStored(subject) ? { id, bits } : { code: codes[bits], sketch, model }), radius, relation, limit, label };
  return `#search?${new URLSearchParams(Object.entries(all).filter(([, value]) => value !== '' && value !== null && value !== undefined))}`;
}

/** The same as a request to the active model, whose thresholds say from which similarity on images are related. */
export function query(wanted, active) {
  const { bits, radius, relation, limit, label } = wanted;
  const params = new URLSearchParams({ bits, limit });
  const least = active.thresholds?.[relation];
  if (typeof least === 'number' && isCompared(wanted, active)) params.append('min_similarity', least);
  if (radius !== null) params.append('radius', radius);
  if (label) params.append('label', label);
  return `/search?${params}`;
}

/** What goes with it as JSON. */
export function body(wanted, active) {
  const { id, codes, sketch, model } = wanted.subject;
  const code = codes?.[wanted.bits];
  if (isStored(wanted.subject)) return { id };
  return isCompared(wanted, active) ? { code, sketch, model } : { code };
}

/** The parameter for a part of a picture. */
export const part = ({ box }) => (box ? `box=${box}` : '');
