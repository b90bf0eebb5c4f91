// What is searched for, as an address to come back to and as a request: `{ subject, bits, radius, limit, label }`, the subject a file with
// `codes` and `model` once it is encoded, a stored image's `id`, or `codes` alone. Knows parameters and asks nobody.

const DEFAULTS = { radius: 2, limit: 50 };

/** What the address asks for. */
export function read(params, lengths) {
  const number = (name) => (/^\d+$/.test(params.get(name)) ? Number(params.get(name)) : DEFAULTS[name]);
  const given = params.get('code') ?? '';
  const code = /^[0-9a-f]+$/i.test(given) && lengths.includes(given.length * 4) && given;
  const bits = code ? code.length * 4 : Number(params.get('bits'));
  const subject = params.get('id') ? { id: params.get('id') } : code ? { codes: { [bits]: code }, model: params.get('model') } : undefined;
  return { subject, bits: lengths.includes(bits) ? bits : Math.max(...lengths), radius: number('radius'), limit: number('limit'), label: params.get('label') ?? '' };
}

/** The same as an address. */
export function write({ subject, bits, radius, limit, label }) {
  const params = new URLSearchParams(subject.id ? { id: subject.id } : { code: subject.codes[bits], model: subject.model });
  if (subject.id) params.set('bits', bits);
  params.set('radius', radius);
  params.set('limit', limit);
  if (label) params.set('label', label);
  return `#search?${params}`;
}

/** The same as a request. What is shown is in rings of equal distance. */
export function query({ bits, radius, limit, label }) {
  const params = new URLSearchParams({ bits, radius, limit, order: 'distance' });
  if (label) params.append('label', label);
  return `/search?${params}`;
}
