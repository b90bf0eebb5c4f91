// The form of the search view: shows the query and reports what the user changes in it.
import { BoxPicker } from './box.js';
import { codePattern } from './code.js';
import { el, field, Slider } from './dom.js';
import { FilterInput } from './filter-input.js';
import { picture, preview } from './picture.js';
import { canCompare, canHaveLength, hasThreshold, needsEncoding, RELATIONS } from './query.js';
import { originalPath } from './service.js';

/** @typedef {import('./query.js').Query} Query */
/** @typedef {import('./query.js').ActiveModel} ActiveModel */

const DEFAULT_RADIUS = 2; // bits
/** @type {Record<string, string>} */
const RELATION_LABELS = { '': 'Any', kin: 'Same kind or copy', copy: 'Copy' };

export class SearchForm {
  /**
   * @param {Query} query
   * @param {ActiveModel} active
   * @param {{
   *   onChange: (changes: Partial<Query>) => void, onFile: (file: File) => void,
   *   onBox: (box: import('./box.js').Box | undefined) => void, signal: AbortSignal,
   * }} options
   */
  constructor(query, active, { onChange, onFile, onBox, signal }) {
    this.onBox = onBox;
    this.signal = signal;
    const { bits, limit, label, filter, radius } = query;
    this.picture = el('div', { class: 'subject' });
    this.lengths = active.lengths.map((length) =>
      el('input', { type: 'radio', name: 'bits', value: length, onchange: () => onChange({ bits: length }) })
    );
    const changeRadius = () => onChange({ radius: this.limited.checked ? this.radius.value : null });
    this.limited = el('input', { type: 'checkbox', onchange: changeRadius });
    this.radius = new Slider('Radius', { min: 0, max: bits, value: radius ?? DEFAULT_RADIUS }, changeRadius);
    this.relation = el('select', { onchange: () => onChange({ relation: this.relation.value }) });
    this.relationField = field('Relation', this.relation);
    this.limit = new Slider(
      'Maximum images',
      { min: 10, max: 200, step: 10, value: limit },
      () => onChange({ limit: this.limit.value }),
    );
    this.knownLabels = el('datalist', { id: 'labels' });
    this.label = el('input', {
      list: 'labels',
      maxlength: 255,
      autocomplete: 'off',
      value: label,
      onchange: () => onChange({ label: this.label.value.trim() }),
    });
    this.filter = new FilterInput(filter, (filter) => onChange({ filter }));
    this.element = this.#layout(onFile);
    this.showModel(active);
    this.showQuery(query, active);
  }

  /** @param {(file: File) => void} onFile */
  #layout(onFile) {
    const file = el('input', {
      type: 'file',
      accept: 'image/*',
      onchange: () => file.files?.[0] && onFile(file.files[0]),
    });
    const gallery = el('a', { href: '#gallery' }, 'gallery');
    return el(
      'div',
      { class: 'search-form' },
      el(
        'div',
        { class: 'drop' },
        this.picture,
        field('Drop, paste or choose an image', file),
        el('p', {}, 'or pick one from the ', gallery),
      ),
      el(
        'fieldset',
        {},
        el('legend', {}, 'Code length in bits'),
        el('div', { class: 'row' }, this.lengths.map((input) => el('label', {}, input, ` ${input.value}`))),
      ),
      el('label', {}, this.limited, ' Limit the distance'),
      this.radius.element,
      this.relationField,
      this.limit.element,
      field('Only images with label', this.label),
      this.knownLabels,
      this.filter.element,
    );
  }

  /**
   * Shows a query. Leaves the label and the filter, because the user may be typing them.
   * @param {Query} query
   * @param {ActiveModel} active
   */
  showQuery({ subject, bits, radius, relation }, active) {
    for (const input of this.lengths) {
      input.checked = Number(input.value) === bits;
      input.disabled = subject !== undefined && !canHaveLength(subject, Number(input.value));
    }
    this.limited.checked = radius !== null;
    this.radius.element.hidden = radius === null;
    this.radius.setMax(bits);
    if (radius !== null) this.radius.value = radius;
    this.relation.value = relation;
    this.relation.disabled = subject !== undefined && !needsEncoding(subject) && !canCompare(subject, active);
  }

  /**
   * Offers the relations that the active model has thresholds for.
   * @param {ActiveModel} active
   */
  showModel(active) {
    const known = RELATIONS.filter((relation) => hasThreshold(relation, active));
    const options = known.map((relation) => {
      const threshold = relation && active.thresholds && `, from ${active.thresholds[relation].toFixed(2)}`;
      return el('option', { value: relation }, RELATION_LABELS[relation], threshold);
    });
    this.relation.replaceChildren(...options);
    this.relationField.hidden = known.length === 1;
  }

  /**
   * Shows the query image, or the pattern of a code without one.
   * @param {Query} query with a subject
   */
  showSubject({ subject = {}, bits }) {
    const { id, file, box, codes } = subject;
    const name = id ?? file?.name;
    const alt = `Query image: ${name}`;
    const image = file ? preview(file, alt) : id && picture(originalPath(id), alt, this.signal);
    const shown = image ? new BoxPicker(image, box, this.onBox).element : codePattern(codes?.[bits] ?? '');
    this.picture.replaceChildren(shown, el('p', {}, name ?? 'a code without a picture'));
  }

  /** @param {string[]} labels to complete the user's input from */
  offerLabels(labels) {
    this.knownLabels.append(...labels.map((value) => el('option', { value })));
    this.filter.offer({ labels });
  }
}
