/**
 * The words of Dovecot's auth protocol (version 1): a line is a command and its parameters, parted by tabs; what a
 * parameter may not hold as it is stands behind \x01.
 */

/** Octets of a line of the server. */
const LINE = 65_536;

const ESCAPES: Readonly<Record<string, string>> = { '\0': '0', '\x01': '1', '\t': 't', '\n': 'n', '\r': 'r' };
const ESCAPED: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.entries(ESCAPES).map(([octet, letter]) => [letter, octet])),
};

export const escapeField = (text: string): string =>
  text.replace(/[\0\x01\t\n\r]/g, (octet) => `\x01${ESCAPES[octet] ?? ''}`);

/** Any other octet behind \x01 stands for itself. */
export const unescapeField = (text: string): string =>
  text.replace(/\x01(.?)/gs, (_, letter: string) => ESCAPED[letter] ?? letter);

/** A line with its LF. */
export const encodeLine = (fields: readonly string[]): string => `${fields.map(escapeField).join('\t')}\n`;

export type Params = ReadonlyMap<string, string>;

export type ServerLine =
  | { readonly kind: 'version'; readonly major: number; readonly minor: number }
  | { readonly kind: 'mechanism'; readonly name: string; readonly flags: ReadonlySet<string> }
  | { readonly kind: 'done' }
  | { readonly kind: 'ok' | 'fail'; readonly id: number; readonly params: Params }
  | { readonly kind: 'continue'; readonly id: number; readonly data: Buffer }
  /** A command that is of no concern here. */
  | { readonly kind: 'other' }
  | { readonly kind: 'fault'; readonly why: string };

const fault = (why: string): ServerLine => ({ kind: 'fault', why });

const number = (text: string | undefined): number | undefined =>
  text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;

/** `name=value`, or a name alone, whose value is ''. The first of a name counts. */
const paramsOf = (fields: readonly string[]): Params => {
  const params = new Map<string, string>();
  for (const field of fields) {
    const [, name = field, value = ''] = /^([^=]*)=(.*)$/s.exec(field) ?? [];
    if (!params.has(name)) params.set(name, value);
  }
  return params;
};

export const parseLine = (line: string): ServerLine => {
  const [command = '', ...fields] = line.split('\t').map(unescapeField);
  const first = number(fields[0]);
  switch (command) {
    case 'VERSION': {
      const minor = number(fields[1]);
      if (first === undefined || minor === undefined) return fault('a VERSION without numbers');
      return { kind: 'version', major: first, minor };
    }
    case 'MECH': {
      const [name = '', ...flags] = fields;
      if (!/^[A-Za-z0-9_-]{1,20}$/.test(name)) return fault('a mechanism of no possible name');
      return { kind: 'mechanism', name: name.toUpperCase(), flags: new Set(flags) };
    }
    case 'DONE':
      return { kind: 'done' };
    case 'OK':
    case 'FAIL':
      if (first === undefined) return fault(`${command} for no request`);
      return { kind: command === 'OK' ? 'ok' : 'fail', id: first, params: paramsOf(fields.slice(1)) };
    case 'CONT': {
      const data = fields[1] ?? '';
      if (first === undefined) return fault('CONT for no request');
      if (!/^[A-Za-z0-9+/]*={0,2}$/.test(data)) return fault('CONT with what is no base64');
      return { kind: 'continue', id: first, data: Buffer.from(data, 'base64') };
    }
    default:
      return { kind: 'other' };
  }
};

/** Cuts what arrives into lines. After a fault there are no more. */
export class LineDecoder {
  #parts: Buffer[] = [];
  #length = 0;
  #over = false;

  push(chunk: Buffer): ServerLine[] {
    const lines: ServerLine[] = [];
    let from = 0;
    while (!this.#over) {
      const end = chunk.indexOf(0x0a, from);
      const part = chunk.subarray(from, end < 0 ? chunk.length : end);
      this.#length += part.length;
      if (this.#length > LINE) {
        this.#over = true;
        this.#parts = [];
        lines.push(fault('an endless line'));
      } else if (end < 0) {
        if (part.length > 0) this.#parts.push(part);
        break;
      } else {
        const line = parseLine(Buffer.concat([...this.#parts, part]).toString('utf8'));
        lines.push(line);
        this.#over = line.kind === 'fault';
        this.#parts = [];
        this.#length = 0;
        from = end + 1;
      }
    }
    return lines;
  }
}
