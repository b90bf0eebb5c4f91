// The forms that start a training job: fine-tuning and adapting, with each option explained.
import { alertText, dialog, el, field } from './dom.js';
import { splitLabels } from './format.js';
import { ask, messageOf } from './service.js';

/**
 * An option of a job. If its input is empty, the service uses the default that is the placeholder.
 * `choices` has the texts of a select by value; otherwise, `input` has the attributes of an input.
 * @typedef {{
 *   name: string, label: string, hint: string,
 *   input?: Record<string, string | number | boolean>, choices?: Record<string, string>,
 * }} Option
 */
/** @typedef {{ title: string, kind: string, options: Option[], moreOptions: Option[] }} Form */
/** @typedef {(job: import('./service.js').Job) => void} OnStarted */

const ACTIVATION = { if_better: 'if it is better', manual: 'manually', always: 'always' };

/** @type {Option} */
const VALIDATION_OPTION = {
  name: 'validation_fraction',
  label: 'Share for validation',
  input: { type: 'number', min: 0.01, max: 0.5, step: 0.01, placeholder: 0.1 },
  hint: 'Images that the new model does not learn from, to measure it.',
};

/** @type {Option} */
const FILTER_OPTION = {
  name: 'filter',
  label: 'Filter',
  input: { placeholder: 'all images' },
  hint: 'Learns only from images that pass it, for example: price < 50',
};

/** @type {Option} */
const SEED_OPTION = {
  name: 'seed',
  label: 'Seed',
  input: { type: 'number', min: 0, placeholder: 0 },
  hint: 'Seed of all random numbers. The same seed trains the same model.',
};

/** @type {Form} */
const FINE_TUNE_FORM = {
  title: 'Teach the model from the gallery',
  kind: 'fine_tune',
  options: [
    {
      name: 'labels',
      label: 'Labels',
      input: { placeholder: 'all' },
      hint: 'The classes to learn, separated by commas. New ones get hash centres of their own.',
    },
    {
      name: 'activate',
      label: 'Activate the new model',
      choices: ACTIVATION,
      hint: 'Better means a higher mean MAP on the validation images.',
    },
    {
      name: 'warm_up_epochs',
      label: 'Epochs of the policies',
      input: { type: 'number', min: 0, max: 500, value: 4 },
      hint: 'Warm-up: first, the policies learn alone, on fixed features of the backbone. This is fast.',
    },
    {
      name: 'epochs',
      label: 'Epochs of both networks',
      input: { type: 'number', min: 0, max: 500, value: 4 },
      hint: 'Then the backbone learns too. This is slow; it helps most if the backbone knows no images like these.',
    },
  ],
  moreOptions: [
    FILTER_OPTION,
    {
      name: 'train_backbone',
      label: 'Train the backbone',
      input: { type: 'checkbox', checked: true },
      hint: 'Without it, a job takes seconds to minutes.',
    },
    {
      name: 'per_class',
      label: 'Maximum images of a class',
      input: { type: 'number', min: 2, max: 1000000, placeholder: 'all' },
      hint: 'Fewer images make the job faster.',
    },
    {
      name: 'replay',
      label: 'Images of other classes',
      input: { type: 'number', min: 0, max: 100, step: 0.1, placeholder: 1 },
      hint: 'A multiple of the images with the labels above. With 0, the model forgets the other classes.',
    },
    VALIDATION_OPTION,
    {
      name: 'learning_rate',
      label: 'Learning rate',
      input: { type: 'number', min: 1e-9, max: 10, step: 'any', placeholder: 0.0005 },
      hint: 'The highest rate of the policies. The backbone’s is 0.6 of it.',
    },
    {
      name: 'reinforce_weight',
      label: 'Weight of REINFORCE',
      input: { type: 'number', min: 0, max: 100, step: 'any', placeholder: 0.1 },
      hint: 'Weight of the rewards of sampled codes, relative to the differentiable term.',
    },
    {
      name: 'batch_size',
      label: 'Images per step',
      input: { type: 'number', min: 2, max: 1024, placeholder: 64 },
      hint: 'Fewer images need less memory.',
    },
    {
      name: 'augment',
      label: 'Augmentation',
      input: { type: 'number', min: 0, max: 1, step: 0.1, placeholder: 0.5 },
      hint: 'How strongly pictures are cropped, turned and coloured at random.',
    },
    SEED_OPTION,
  ],
};

/** @type {Form} */
const ADAPT_FORM = {
  title: 'Adapt the model to this gallery',
  kind: 'adapt',
  options: [
    {
      name: 'activate',
      label: 'Activate the new model',
      choices: ACTIVATION,
      hint: 'Better means that searches find more of the images that are nearest by features, and that copies come ' +
        'first at most 0.005 less often, both on the validation images.',
    },
    {
      name: 'epochs',
      label: 'Epochs of the policies',
      input: { type: 'number', min: 1, max: 500, value: 20 },
      hint: 'How often the policies see each image. Fewer epochs are faster, but the codes get worse.',
    },
  ],
  moreOptions: [
    FILTER_OPTION,
    {
      name: 'images',
      label: 'Maximum images',
      input: { type: 'number', min: 256, max: 50000, placeholder: 20000 },
      hint:
        'A random choice from the gallery. At least 256 must remain for training: 284 if a tenth is for validation.',
    },
    VALIDATION_OPTION,
    SEED_OPTION,
  ],
};

/** @param {Option} option */
function controlOf({ choices, input }) {
  if (!choices) return el('input', { autocomplete: 'off', ...input });
  return el('select', {}, Object.entries(choices).map(([value, text]) => el('option', { value }, text)));
}

/**
 * Returns the value of an option, or undefined for the default.
 * @param {string} name
 * @param {HTMLInputElement | HTMLSelectElement} control
 */
function valueOf(name, control) {
  if (control instanceof HTMLInputElement && control.type === 'checkbox') return control.checked;
  if (control.value.trim() === '') return undefined;
  if (name === 'labels') return splitLabels(control.value);
  return control.type === 'number' ? Number(control.value) : control.value;
}

/**
 * Opens a form that starts a job. Shows a refusal and lets the user change the options.
 * @param {Form} form
 * @param {OnStarted} onStarted
 */
function openForm({ title, kind, options, moreOptions }, onStarted) {
  /** @type {[string, HTMLInputElement | HTMLSelectElement][]} */
  const controls = [];
  const fieldOf = (/** @type {Option} */ option) => {
    const control = controlOf(option);
    controls.push([option.name, control]);
    return field(option.label, control, option.hint);
  };
  const problem = alertText();
  const start = el('button', { class: 'primary' }, 'Start');
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    start.disabled = true;
    try {
      const values = controls.map(([name, control]) => [name, valueOf(name, control)]);
      const job = await ask('/admin/jobs', { json: { kind, ...Object.fromEntries(values) } });
      shown.close();
      onStarted(job);
    } catch (error) {
      problem.textContent = messageOf(error);
      start.disabled = false;
    }
  };
  const form = el(
    'form',
    { onsubmit: submit },
    options.map(fieldOf),
    el('details', {}, el('summary', {}, 'More options'), moreOptions.map(fieldOf)),
    problem,
    el('div', { class: 'actions' }, start),
  );
  const shown = dialog(title, { class: 'form' }, form);
}

/** @param {OnStarted} onStarted */
export const openFineTuneForm = (onStarted) => openForm(FINE_TUNE_FORM, onStarted);

/** @param {OnStarted} onStarted */
export const openAdaptForm = (onStarted) => openForm(ADAPT_FORM, onStarted);
