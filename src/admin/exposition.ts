/**
 * Metrics as text for Prometheus: its own format, version 0.0.4, or OpenMetrics 1.0 for who asks for it. Written here
 * and not by prom-client, because that writes one registry in one format: after a scrape in OpenMetrics its counters have
 * lost their names for every other, it does not know of several processes, and it writes everything in one go.
 */
import { type Family, type Sample, Slices, type Snapshot } from './snapshot.js';

export const TEXT = 'text/plain; version=0.0.4; charset=utf-8';
export const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

export type Format = typeof TEXT | typeof OPEN_METRICS;

/** The weight that an Accept header gives to a range, 0 to 1 (RFC 9110 12.4.2). */
const weightOf = (parameters: readonly string[]): number => {
  const q = parameters.find((each) => /^q=/i.test(each))?.slice(2);
  const weight = q === undefined ? 1 : Number(q);
  return Number.isFinite(weight) ? weight : 0;
};

/** The format that an Accept header asks for; the plain one where both are as welcome, or nothing is said. */
export const formatFor = (accept: string | undefined): Format => {
  let open = 0;
  let plain = 0;
  for (const range of (accept ?? '').split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const version = parameters.find((each) => each.startsWith('version='))?.slice('version='.length);
    const weight = weightOf(parameters);
    if (type === 'application/openmetrics-text') {
      if (version === undefined || version === '1.0.0') open = Math.max(open, weight);
    } else if (type === 'text/plain' || type === 'text/*' || type === '*/*') plain = Math.max(plain, weight);
  }
  return open > plain ? OPEN_METRICS : TEXT;
};

const escapeHelp = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
const escapeLabel = (text: string): string => escapeHelp(text).replaceAll('"', '\\"');

/** OpenMetrics writes the bounds of buckets as floats: `1.0`. */
const bound = (text: string): string => (/^\d+$/.test(text) ? `${text}.0` : text);

const sampleLine = ({ name, labels, value }: Sample, format: Format): string => {
  let pairs = '';
  for (const label in labels) {
    const given = labels[label] ?? '';
    const text = label === 'le' && format === OPEN_METRICS ? bound(given) : given;
    pairs += `${pairs === '' ? '' : ','}${label}="${escapeLabel(text)}"`;
  }
  return `${pairs === '' ? name : `${name}{${pairs}}`} ${value}\n`;
};

const heading = ({ name, help, type }: Family, format: Format): string => {
  const open = format === OPEN_METRICS;
  // In OpenMetrics a counter's family goes without the suffix of its samples, and a help text may hold quotes escaped.
  const family = open && type === 'counter' ? name.replace(/_total$/, '') : name;
  return `# HELP ${family} ${open ? escapeLabel(help) : escapeHelp(help)}\n# TYPE ${family} ${type}\n`;
};

/** Writes a snapshot, in slices. A family without samples is announced all the same. */
export const expose = async (snapshot: Snapshot, format: Format): Promise<string> => {
  const slices = new Slices();
  const parts: string[] = [];
  for (const family of snapshot) {
    let text = heading(family, format);
    for (const sample of family.samples) {
      text += sampleLine(sample, format);
      if (slices.spent) await slices.turn();
    }
    parts.push(text);
  }
  if (format === OPEN_METRICS) parts.push('# EOF\n');
  return parts.join('');
};
