// Reads metrics in the Prometheus text format: sums by labels, and changes between readings.

export class Metrics {
  /** @param {Map<string, number>} samples by name and labels, as the format writes them */
  constructor(samples) {
    this.samples = samples;
  }

  /** @param {string} text */
  static parse(text) {
    const lines = text.split('\n').filter((line) => line && !line.startsWith('#'));
    return new Metrics(
      new Map(lines.map((line) => {
        const space = line.lastIndexOf(' ');
        return [line.slice(0, space), Number(line.slice(space + 1))];
      })),
    );
  }

  /**
   * Returns the sum of a metric's samples that have these labels.
   * @param {string} name
   * @param {Record<string, string>} [labels]
   */
  sum(name, labels = {}) {
    const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
    let sum = 0;
    for (const [sample, value] of this.samples) {
      const [sampleName, sampleLabels = ''] = sample.split('{');
      if (sampleName === name && wanted.every((one) => sampleLabels.includes(one))) sum += value;
    }
    return sum;
  }

  /**
   * Returns the change since an earlier reading.
   * @param {Metrics} earlier
   */
  since(earlier) {
    const changes = [...this.samples].map((
      [sample, value],
    ) => /** @type {const} */ ([sample, value - (earlier.samples.get(sample) ?? 0)]));
    return new Metrics(new Map(changes));
  }
}
