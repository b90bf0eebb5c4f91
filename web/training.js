// The forms that ask for a job that trains, each option with what it does. Knows the options of the contract; not what becomes of the job.
import { dialog, el, field } from './dom.js';
import { split } from './record.js';
import { ask, words } from './service.js';

const number = (attributes) => el('input', { type: 'number', ...attributes });
const WHEN = [['if_better', 'if it is better'], ['manual', 'not by itself'], ['always', 'always']];

// An option: name, label, input, what it does. What is left empty is the service's to choose.
const activate = (better) => ['activate', 'Activate the new model', el('select', {}, WHEN.map(([value, text]) => el('option', { value }, text))), better];
const kept = () => ['validation_fraction', 'Share kept from training', number({ min: 0.01, max: 0.5, step: 0.01, placeholder: 0.1 }), 'What the new model is measured on.'];
const seed = () => ['seed', 'Seed', number({ min: 0, placeholder: 0 }), 'Of everything random: the same seed trains the same model.'];

function value([name, , input]) {
  if (input.type === 'checkbox') return [name, input.checked];
  if (name === 'labels') return [name, split(input.value)];
  if (input.type === 'number') return [name, input.value === '' ? undefined : Number(input.value)];
  return [name, input.value];
}

/** Asks for options, the rarer ones folded away, then for a job of a kind, and tells `started` of it. A refusal is shown. */
function form(title, kind, options, more, started) {
  const shownAs = ([, label, input, explained]) => field(label, input, explained);
  const told = el('p', { class: 'problem', role: 'alert' });
  const begin = el('button', { class: 'primary' }, 'Start');
  const asked = el('form', { onsubmit: async (event) => {
    event.preventDefault();
    const wanted = Object.fromEntries([...options, ...more].map(value).filter(([, given]) => given !== undefined && given.length !== 0));
    begin.disabled = true;
    try {
      const job = await ask('/admin/jobs', { json: { kind, ...wanted } });
      shown.close();
      started(job);
    } catch (error) {
      told.textContent = words(error) ?? '';
      begin.disabled = false;
    }
  } }, options.map(shownAs), el('details', {}, el('summary', {}, 'More options'), more.map(shownAs)), told, el('div', { class: 'actions' }, begin));
  const shown = dialog(title, { class: 'form' }, asked);
}

export function fineTuning(started) {
  form('Teach the model from the gallery', 'fine_tune', [
    ['labels', 'Labels', el('input', { autocomplete: 'off', placeholder: 'all' }), 'The classes to learn, with commas between. New ones get hash centres of their own.'],
    activate('Better is by the mean MAP on images that are kept from training.'),
    ['warm_up_epochs', 'Epochs of the policies', number({ min: 0, max: 500, value: 4 }), 'First the policies learn alone, on features of the backbone as it is: quick.'],
    ['epochs', 'Epochs of both networks', number({ min: 0, max: 500, value: 4 }), 'Then the backbone learns along: slow, and worth most where pictures are unlike those it knows.'],
  ], [
    ['train_backbone', 'The backbone learns too', el('input', { type: 'checkbox', checked: true }), 'Without, a job takes seconds to minutes.'],
    ['per_class', 'Most images of a class', number({ min: 2, max: 1000000, placeholder: 'all' }), 'Fewer are quicker.'],
    ['replay', 'Images of other classes', number({ min: 0, max: 100, step: 0.1, placeholder: 1 }), 'How many times those of the labels above; without any, it forgets other classes.'],
    kept(),
    ['learning_rate', 'Learning rate', number({ min: 1e-9, max: 10, step: 'any', placeholder: 0.0005 }), 'The highest of the policies; the backbone’s is 0.6 of it.'],
    ['reinforce_weight', 'Weight of REINFORCE', number({ min: 0, max: 100, step: 'any', placeholder: 0.1 }), 'How much rewards of sampled codes count beside the differentiable term.'],
    ['batch_size', 'Images a step', number({ min: 2, max: 1024, placeholder: 64 }), 'Fewer take less memory.'],
    ['augment', 'Change of pictures', number({ min: 0, max: 1, step: 0.1, placeholder: 0.5 }), 'How much they are cropped, turned and coloured at random.'],
    seed(),
  ], started);
}

export function adapting(started) {
  form('Fit the model to this gallery', 'adapt', [
    activate('It is better if its searches find more of the images that are nearest by features, and copies come first at most 0.005 less often. Both models are measured on images that are kept from training.'),
    ['epochs', 'Epochs of the policies', number({ min: 1, max: 500, value: 20 }), 'How often the policies see each image. Fewer are quicker, and codes say less.'],
  ], [
    ['images', 'Most images', number({ min: 256, max: 50000, placeholder: 20000 }), 'Drawn from the gallery at random. At least 256 must be left to learn from: 284 in all, if a tenth is kept from training.'],
    kept(),
    seed(),
  ], started);
}
