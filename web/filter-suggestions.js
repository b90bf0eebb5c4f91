// Suggests how a filter can continue at the caret. Pure: sends nothing and touches no element.
// Follows the language (docs/filters.md) loosely; the service alone decides if a filter is right.

/** @typedef {{ path: string, type: string, built: boolean }} Field */
/** @typedef {{ fields: Field[], labels: string[] }} Known what filters can test, and known labels */
/** @typedef {{ text: string, hint: string, insert: string }} Suggestion */

const MAX_SUGGESTIONS = 50;
const KEYWORDS = ['and', 'or', 'not', 'in', 'exists', 'is', 'null', 'starts', 'with', 'true', 'false'];
/** @type {Record<string, string>} the types of what needs no declaration, by name */
const SPECIAL = { labels: 'labels', id: 'id', created_at_ms: 'moment', updated_at_ms: 'moment' };
/** @type {Record<string, string>} */
const SPECIAL_HINTS = { labels: 'text', id: 'text', moment: 'time' };

const TEXTS = ['keyword', 'labels', 'id'];
const ORDERED = ['integer', 'number', 'time', 'moment'];
const FIELDS = ['keyword', 'integer', 'number', 'bool', 'time'];
/** @type {[string, string, string[]][]} each operator, its meaning, and the types that it suits */
const OPERATORS = [
  ['=', 'a value is equal', [...TEXTS, ...ORDERED, 'bool']],
  ['!=', 'no value is equal', [...TEXTS, ...ORDERED, 'bool']],
  ['<', 'less than', ORDERED],
  ['<=', 'at most', ORDERED],
  ['>', 'greater than', ORDERED],
  ['>=', 'at least', ORDERED],
  ['IN', 'one of several', [...TEXTS, ...ORDERED]],
  ['NOT IN', 'none of several', [...TEXTS, ...ORDERED]],
  ['STARTS WITH', 'the start of a text', TEXTS],
  ['NOT STARTS WITH', 'not the start of a text', TEXTS],
  ['EXISTS', 'there is one', [...FIELDS, 'labels']],
  ['NOT EXISTS', 'there is none', [...FIELDS, 'labels']],
  ['IS NULL', 'it is null', FIELDS],
  ['IS NOT NULL', 'it is not null', FIELDS],
];

const PART = String.raw`(?:[\p{L}\p{N}_$@-]+|"(?:[^"\\]|\\.)*")`;
// The texts in quotes that are open at the end come first: they are only parts of tokens.
const TOKEN = new RegExp(
  String.raw`(?<open>"(?:[^"\\]|\\.)*\\?$|'(?:[^'\\]|\\.)*\\?$)|(?<text>'(?:[^'\\]|\\.)*')|` +
    String.raw`(?<value>[\p{N}+-][\p{L}\p{N}_$@.:+-]*)|(?<path>${PART}(?:\.${PART})*(?:\."[^"]*$|\.)?)|` +
    String.raw`(?<symbol>[=!<>]+|\S)`,
  'gsu',
);

/**
 * @param {string} text
 * @param {string} hint
 * @param {string} [insert]
 * @returns {Suggestion}
 */
const suggestion = (text, hint, insert = `${text} `) => ({ text, hint, insert });

/**
 * Returns a field's path as a filter must write it: quotes a name that means something else.
 * @param {string} path
 */
function inFilter(path) {
  const [first] = path.split('.', 1);
  const isOther = Object.hasOwn(SPECIAL, path) || KEYWORDS.includes(first.toLowerCase());
  return isOther ? `"${first}"${path.slice(first.length)}` : path;
}

/**
 * Where a filter stands at its end: what comes next, and the replaced part that the user has typed.
 * `next` is 'list' before the bracket of a list, 'item' and 'separator' in it, and 'joint' after a
 * condition. `from` is where the typed part begins.
 * @typedef {{ next: string, type: string, depth: number, close: string, typed: string, from: number }} Place
 */

/**
 * Reads a filter up to the caret.
 * @param {string} text
 * @param {Field[]} fields
 * @returns {Place}
 */
function read(text, fields) {
  const tokens = [...text.matchAll(TOKEN)];
  const last = tokens.at(-1);
  const { open, value, path } = last?.groups ?? {};
  const isUnfinished = Boolean(open || value || path && !path.endsWith('"')) && !/\s$/.test(open ? '' : text);
  if (isUnfinished) tokens.pop();
  const place = { next: 'condition', type: '', depth: 0, close: '', typed: '', from: 0 };
  for (const { 0: token, index } of tokens) step(place, token, index, fields);
  if (!place.typed) place.from = isUnfinished && last ? last.index : text.length;
  place.typed = text.slice(place.from);
  return place;
}

/**
 * Moves a place past a token.
 * @param {Place} place
 * @param {string} token
 * @param {number} index of the token
 * @param {Field[]} fields
 */
function step(place, token, index, fields) {
  const word = token.toUpperCase();
  switch (place.next) {
    case 'condition':
      if (token === '(') place.depth += 1;
      else if (word !== 'NOT') {
        place.type = SPECIAL[token] ?? fields.find(({ path }) => inFilter(path) === token)?.type ?? '';
        place.next = 'operator';
      }
      break;
    case 'operator':
      // An operator can have several words.
      if (!place.typed) place.from = index;
      place.typed = `${place.typed} ${word}`.trim();
      if (!OPERATORS.some(([operator]) => operator === place.typed)) break;
      place.next = /IN$/.test(place.typed) ? 'list' : /(EXISTS|NULL)$/.test(place.typed) ? 'joint' : 'value';
      place.typed = '';
      break;
    case 'list':
      place.close = token === '(' ? ')' : ']';
      place.next = 'item';
      break;
    case 'item':
      place.next = 'separator';
      break;
    case 'separator':
      place.next = token === ',' ? 'item' : 'joint';
      break;
    case 'value':
      place.next = 'joint';
      break;
    default:
      if (token === ')') place.depth -= 1;
      else place.next = 'condition';
  }
}

/**
 * @param {string} type
 * @param {Known} known
 * @param {string} end what follows a value
 */
function values(type, { labels }, end) {
  const value = (/** @type {string} */ text, /** @type {string} */ hint) => suggestion(text, hint, text + end);
  if (type === 'labels') return labels.map((label) => value(JSON.stringify(label), ''));
  if (type === 'bool') return [value('true', ''), value('false', '')];
  if (type === 'time' || type === 'moment') {
    return [value(`${new Date().toISOString().slice(0, 10)}T00:00:00Z`, 'the start of today (UTC)')];
  }
  return TEXTS.includes(type) ? [suggestion('"', 'starts a text', '"')] : [];
}

/**
 * @param {Place} place
 * @param {Known} known
 */
function suggestionsAt({ next, type, depth, close }, known) {
  switch (next) {
    case 'condition': {
      const fields = known.fields.map(({ path, type, built }) =>
        suggestion(inFilter(path), built ? type : `${type}, being built`)
      );
      const special = Object.entries(SPECIAL).map(([name, type]) => suggestion(name, SPECIAL_HINTS[type]));
      return [...fields, ...special, suggestion('NOT', 'the opposite of a condition')];
    }
    case 'operator':
      return OPERATORS.filter(([, , types]) => !type || types.includes(type))
        .map(([text, hint]) => suggestion(text, hint, text.endsWith('IN') ? `${text} [` : `${text} `));
    case 'list':
      return [suggestion('[', 'starts the list', '[')];
    case 'separator':
      return [suggestion(',', 'another value', ', '), suggestion(close, 'the end of the list')];
    case 'joint': {
      const end = depth > 0 ? [suggestion(')', 'the end of the parenthesis')] : [];
      return [suggestion('AND', 'both must hold'), suggestion('OR', 'one must hold'), ...end];
    }
    default:
      return values(type, known, next === 'item' ? '' : ' ');
  }
}

/**
 * Returns how a filter can continue, and where the part begins that a suggestion replaces.
 * @param {string} text of the filter up to the caret
 * @param {Known} known
 * @returns {{ from: number, suggestions: Suggestion[] }}
 */
export function suggest(text, known) {
  const place = read(text, known.fields);
  const plain = (/** @type {string} */ text) => text.replace(/^["']/, '').toLowerCase();
  const typed = plain(place.typed);
  const isStart = (/** @type {Suggestion} */ { text }) => plain(text).startsWith(typed);
  const isWithin = (/** @type {Suggestion} */ { text }) => plain(text).includes(typed);
  const all = suggestionsAt(place, known).filter(({ text }) => text.toLowerCase() !== place.typed.toLowerCase());
  const isPhrase = place.next === 'operator';
  const others = isPhrase ? [] : all.filter((one) => isWithin(one) && !isStart(one));
  const suggestions = [...all.filter(isStart), ...others].slice(0, MAX_SUGGESTIONS);
  // After `"cat"` or `=`, the next word needs a space.
  const isAdjoined = /[^\s([]$/.test(text.slice(0, place.from));
  const withSpace = (/** @type {Suggestion} */ one) =>
    isAdjoined && !/^[,)\]]/.test(one.insert) ? { ...one, insert: ` ${one.insert}` } : one;
  return { from: place.from, suggestions: suggestions.map(withSpace) };
}
