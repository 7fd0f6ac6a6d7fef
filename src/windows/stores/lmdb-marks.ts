/** Marks and counts in an LMDB file. */
import { createHash } from 'node:crypto';
import type { Database } from 'lmdb';
import { type Count, type Mark, type MarkKind, StoreError } from '../store.js';
import { quietly } from './lmdb-change.js';
import type { Change, LmdbEnv } from './lmdb-env.js';

/** LMDB takes keys of 1,978 octets. */
const KEY_OCTETS = 1_000;

type Expiring = { readonly until: number };
type Counted = Expiring & { readonly used: number };
type StoredMark = Expiring & { readonly value: string };

const countKey = (key: string): string =>
  Buffer.byteLength(key) > KEY_OCTETS ? createHash('sha256').update(key).digest('base64') : key;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null;
const isMark = (value: unknown): value is StoredMark =>
  isRecord(value) && typeof value.value === 'string' && typeof value.until === 'number';
const isCounted = (value: unknown): value is Counted =>
  isRecord(value) && typeof value.used === 'number' && typeof value.until === 'number';

/** What was read back, or an error for what is none of ours. */
const soundly = <T>(isSound: (value: unknown) => value is T, value: unknown): T | undefined => {
  if (value !== undefined && !isSound(value)) throw new Error('an entry that is damaged');
  return value;
};

/** Looks at a few entries from where it stopped and drops what has expired. Returns where to go on. */
const sweep = <K extends string | [string, string]>(
  database: Database<Expiring, K>,
  hand: K | undefined,
  now: number,
): K | undefined => {
  const range = hand === undefined ? {} : { start: hand, exclusiveStart: true };
  try {
    const seen = [...database.getRange({ ...range, limit: 4, versions: true })];
    for (const { key, value, version } of seen)
      if (value.until <= now && version !== undefined) quietly(database.remove(key, version));
    return seen.length < 4 ? undefined : seen.at(-1)?.key;
  } catch {
    // Something is damaged: whoever asks for it is told.
    return undefined;
  }
};

export class LmdbMarks {
  readonly #env: LmdbEnv;
  readonly #marks: Database<StoredMark, [string, string]>;
  readonly #change: Change<StoredMark, [string, string]>;
  #hand: [string, string] | undefined;

  constructor(env: LmdbEnv) {
    this.#env = env;
    this.#marks = env.root.openDB({ name: 'marks', useVersions: true });
    this.#change = env.changes(this.#marks, isMark);
  }

  async mark(kind: MarkKind, { key, value, until }: Mark, now: number): Promise<void> {
    if (Buffer.byteLength(key) > KEY_OCTETS) throw new StoreError('mark', 'a key of more than 1,000 octets');
    await this.#change<void>('mark', [kind, key], () => ({
      value: { value, until },
      result: undefined,
    }));
    this.#hand = sweep(this.#marks, this.#hand, now);
  }

  async markOnce(kind: MarkKind, { key, value, until }: Mark, now: number): Promise<Mark | undefined> {
    if (Buffer.byteLength(key) > KEY_OCTETS) throw new StoreError('mark', 'a key of more than 1,000 octets');
    type Held = StoredMark | undefined;
    const held = await this.#change<Held>('mark', [kind, key], (mark) =>
      mark !== undefined && mark.until > now
        ? { keep: true, result: mark }
        : { value: { value, until }, result: undefined },
    );
    if (held !== undefined) return { key, ...held };
    this.#hand = sweep(this.#marks, this.#hand, now);
    return undefined;
  }

  async marked(kind: MarkKind, key: string, now: number): Promise<Mark | undefined> {
    if (Buffer.byteLength(key) > KEY_OCTETS) return undefined;
    const mark = this.#env.read('mark', () => soundly(isMark, this.#marks.get([kind, key])));
    return mark !== undefined && mark.until > now ? { key, ...mark } : undefined;
  }

  unmark(kind: MarkKind, key: string, now: number): Promise<boolean> {
    if (Buffer.byteLength(key) > KEY_OCTETS) return Promise.resolve(false);
    return this.#change<boolean>('mark', [kind, key], (mark) =>
      mark === undefined ? { keep: true, result: false } : { value: undefined, result: mark.until > now },
    );
  }

  async marks(kind: MarkKind, limit: number, now: number): Promise<readonly Mark[]> {
    return this.#env.read('mark', () => {
      const listed: Mark[] = [];
      for (const { key, value } of this.#marks.getRange({ start: [kind, ''], end: [kind, '\uffff'] })) {
        if (listed.length >= limit) break;
        if (isMark(value) && value.until > now) listed.push({ key: key[1], ...value });
      }
      return listed;
    });
  }
}

export class LmdbCounts {
  readonly #env: LmdbEnv;
  readonly #counts: Database<Counted, string>;
  readonly #change: Change<Counted, string>;
  #hand: string | undefined;

  constructor(env: LmdbEnv) {
    this.#env = env;
    this.#counts = env.root.openDB({ name: 'counts', useVersions: true });
    this.#change = env.changes(this.#counts, isCounted);
  }

  async count(key: string, amount: number, period: number): Promise<Count> {
    const short = countKey(key);
    // The store's own clock, which all processes of the host share.
    const now = Date.now();
    const valid = (held: Counted | undefined): Counted | undefined =>
      held !== undefined && held.until > now ? held : undefined;
    const told = ({ used, until }: Counted): Count => ({ used, resetIn: until - now });
    if (amount === 0)
      return told(
        valid(this.#env.read('count', () => soundly(isCounted, this.#counts.get(short)))) ?? {
          used: 0,
          until: now,
        },
      );
    const counted = await this.#change<Counted>('count', short, (held) => {
      const { used, until } = valid(held) ?? { used: 0, until: now + period };
      const value = { used: used + amount, until };
      return { value, result: value };
    });
    this.#hand = sweep(this.#counts, this.#hand, now);
    return told(counted);
  }

  async uncount(key: string): Promise<void> {
    await this.#change<void>('count', countKey(key), (held) =>
      held === undefined ? { keep: true, result: undefined } : { value: undefined, result: undefined },
    );
  }
}
