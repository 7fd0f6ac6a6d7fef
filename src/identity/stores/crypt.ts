/**
 * crypt(3) without a C library: MD5 ($1$, Apache's $apr1$), SHA-256 ($5$) and SHA-512 ($6$) by Ulrich Drepper's
 * "Unix crypt using SHA-256 and SHA-512", bcrypt ($2a$ $2b$ $2y$) and the DES of old. All of it is slow on purpose and
 * synchronous: it belongs into a worker.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import bcrypt from 'bcryptjs';
import des from 'unix-crypt-td-js';

const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** `count` characters of 6 bits, the lowest first. */
const sixBits = (value: number, count: number): string => {
  let text = '';
  for (let i = 0, rest = value; i < count; i += 1, rest >>>= 6) text += ALPHABET[rest & 63];
  return text;
};

const at = (octets: Buffer, [a, b, c]: readonly [number, number, number]): number =>
  ((octets[a] ?? 0) << 16) | ((octets[b] ?? 0) << 8) | (octets[c] ?? 0);

const hash = (algorithm: string, ...parts: readonly Buffer[]): Buffer => {
  const sum = createHash(algorithm);
  for (const part of parts) sum.update(part);
  return sum.digest();
};

/** The first `length` octets of `octets` repeated. */
const repeated = (octets: Buffer, length: number): Buffer => Buffer.alloc(length, octets);

/** Poul-Henning Kamp's scheme of FreeBSD 2.0; `magic` is `$1$` or `$apr1$`. */
const md5Crypt = (password: Buffer, salt: Buffer, magic: string): string => {
  const alternate = hash('md5', password, salt, password);
  const first = createHash('md5').update(password).update(magic).update(salt);
  first.update(repeated(alternate, password.length));
  for (let i = password.length; i > 0; i >>= 1)
    first.update((i & 1) === 1 ? Buffer.alloc(1) : password.subarray(0, 1));
  let sum: Buffer = first.digest();
  for (let i = 0; i < 1_000; i += 1) {
    const parts = [i % 2 === 1 ? password : sum];
    if (i % 3 !== 0) parts.push(salt);
    if (i % 7 !== 0) parts.push(password);
    parts.push(i % 2 === 1 ? sum : password);
    sum = hash('md5', ...parts);
  }
  let text = '';
  for (const [a, b, c] of [
    [0, 6, 12],
    [1, 7, 13],
    [2, 8, 14],
    [3, 9, 15],
    [4, 10, 5],
  ] as const)
    text += sixBits(at(sum, [a, b, c]), 4);
  return text + sixBits(sum[11] ?? 0, 2);
};

/** What an octet of P and S is made of (steps 13 to 20): `text` fed `times` times, stretched to its own length. */
const sequence = (algorithm: string, text: Buffer, times: number): Buffer => {
  const sum = createHash(algorithm);
  for (let i = 0; i < times; i += 1) sum.update(text);
  return repeated(sum.digest(), text.length);
};

const shaCrypt = (algorithm: 'sha256' | 'sha512', password: Buffer, salt: Buffer, rounds: number): string => {
  const alternate = hash(algorithm, password, salt, password);
  const first = createHash(algorithm).update(password).update(salt);
  first.update(repeated(alternate, password.length));
  for (let i = password.length; i > 0; i >>= 1) first.update((i & 1) === 1 ? alternate : password);
  let sum: Buffer = first.digest();
  const p = sequence(algorithm, password, password.length);
  const s = sequence(algorithm, salt, 16 + (sum[0] ?? 0));
  for (let i = 0; i < rounds; i += 1) {
    const parts = [i % 2 === 1 ? p : sum];
    if (i % 3 !== 0) parts.push(s);
    if (i % 7 !== 0) parts.push(p);
    parts.push(i % 2 === 1 ? sum : p);
    sum = hash(algorithm, ...parts);
  }
  const long = algorithm === 'sha512';
  let [a, b, c] = long ? [0, 21, 42] : [0, 10, 20];
  let text = '';
  for (let i = 0; i < (long ? 21 : 10); i += 1) {
    text += sixBits(at(sum, [a, b, c]), 4);
    [a, b, c] = long ? [b + 1, c + 1, a + 1] : [c + 1, a + 1, b + 1];
  }
  return text + (long ? sixBits(sum[63] ?? 0, 2) : sixBits(((sum[31] ?? 0) << 8) | (sum[30] ?? 0), 3));
};

export const DEFAULT_ROUNDS = 5_000;

const FORMS = {
  md5: /^(\$(?:1|apr1)\$)([^$:\r\n]{0,8})\$([./0-9A-Za-z]{22})$/,
  sha256: /^\$5\$(?:rounds=([0-9]{1,9})\$)?([^$:\r\n]{0,16})\$([./0-9A-Za-z]{43})$/,
  sha512: /^\$6\$(?:rounds=([0-9]{1,9})\$)?([^$:\r\n]{0,16})\$([./0-9A-Za-z]{86})$/,
  bcrypt: /^\$2[aby]\$([0-9]{2})\$[./0-9A-Za-z]{53}$/,
  des: /^[./0-9A-Za-z]{13}$/,
} as const;

export type CryptForm = keyof typeof FORMS;
const NAMES: readonly CryptForm[] = ['md5', 'sha256', 'sha512', 'bcrypt', 'des'];

/** By its looks, which kind of hash it is. */
export const cryptForm = (text: string): CryptForm | undefined =>
  NAMES.find((form) => FORMS[form].test(text));

/** Rounds of $5$ and $6$, the binary logarithm of bcrypt's; 0 where there is nothing to choose. */
export const cryptCost = (text: string): number => {
  const form = cryptForm(text);
  const found = form === undefined ? null : FORMS[form].exec(text);
  if (form === 'bcrypt') return Number(found?.[1]);
  return form === 'sha256' || form === 'sha512' ? Number(found?.[1] ?? DEFAULT_ROUNDS) : 0;
};

/** glibc's bounds; fewer rounds than 1,000 are taken for 1,000. */
const clamp = (rounds: string | undefined): number =>
  rounds === undefined ? DEFAULT_ROUNDS : Math.min(Math.max(Number(rounds), 1_000), 999_999_999);

/** A hash with a salt and rounds as asked for. `salt`: up to 16 of `./0-9A-Za-z`. */
export const shaCryptText = (
  algorithm: 'sha256' | 'sha512',
  password: string,
  salt: string,
  rounds = DEFAULT_ROUNDS,
): string => {
  const asked = rounds === DEFAULT_ROUNDS ? '' : `rounds=${rounds}$`;
  const sum = shaCrypt(algorithm, Buffer.from(password), Buffer.from(salt), clamp(String(rounds)));
  return `$${algorithm === 'sha256' ? 5 : 6}$${asked}${salt}$${sum}`;
};

/** In a time that does not tell where they differ. */
const same = (a: string, b: string): boolean =>
  timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest());

/** Whether the password is the one of a hash that `cryptForm` knows. */
export const cryptMatches = (text: string, password: string): boolean => {
  const form = cryptForm(text);
  const octets = Buffer.from(password);
  if (form === undefined || octets.length === 0) return false;
  const [, first = '', second = '', third = ''] = FORMS[form].exec(text) ?? [];
  switch (form) {
    case 'md5':
      return same(md5Crypt(octets, Buffer.from(second), first), third);
    case 'sha256':
    case 'sha512':
      return same(
        shaCrypt(form, octets, Buffer.from(second), clamp(first === '' ? undefined : first)),
        third,
      );
    case 'bcrypt':
      // bcrypt reads 72 octets of a password and no more, wherever it is implemented.
      return bcrypt.compareSync(password, text);
    case 'des':
      return same(String(des([...octets], text.slice(0, 2))), text);
  }
};
