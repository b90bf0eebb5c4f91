// Metrics as Prometheus reads them: sums of samples by name and labels, and what changed between two times. Knows the text format alone.

class Samples {
  constructor(samples) {
    this.samples = samples;
  }

  /** The sum of a metric's samples that have these labels. */
  sum(name, labels = {}) {
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
    let sum = 0;
    for (const [sample, value] of this.samples) {
      const [own, rest = ''] = sample.split('{');
      if (own === name && wanted.every((one) => rest.includes(one))) sum += value;
    }
    return sum;
  }
}

export function parse(text) {
  const lines = text.split('\n').filter((line) => line && !line.startsWith('#'));
  return new Samples(new Map(lines.map((line) => {
    const at = line.lastIndexOf(' ');
    return [line.slice(0, at), Number(line.slice(at + 1))];
  })));
}

export function difference(before, now) {
  return new Samples(new Map([...now.samples].map(([sample, value]) => [sample, value - (before.samples.get(sample) ?? 0)])));
}
