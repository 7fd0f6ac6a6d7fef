/** The part of `sekisho.yaml` that says where windows, marks and counts are kept. */
import { z } from 'zod';
import type { RedisOptions } from '../windows/stores/redis-options.js';
import { Duration, milliseconds, text } from './config-fields.js';
import { authorities, materialOf, type Reading } from './config-tls.js';

const memoryError = 'must be memory, or a map with lmdb or redis';
const ENDPOINT = /^(?:\[[0-9A-Fa-f:.]+\]|[^:[\]\s]+):\d{1,5}$/;
const endpointError = 'must be HOST:PORT';
const Endpoint = z.string({ error: endpointError }).regex(ENDPOINT, { error: endpointError });

const clusterError = 'must be true, false, or a list of HOST:PORT';

const StoreMap = z.strictObject(
  {
    lmdb: text('the path of a folder').optional(),
    redis: z
      .string({ error: 'must be redis://HOST:PORT/DB or rediss://…' })
      .regex(/^rediss?:\/\/\S+$/, { error: 'must be redis://HOST:PORT/DB or rediss://…' })
      .optional(),
    password_file: text('the path of a file that holds the password and nothing else').optional(),
    timeout: Duration.optional(),
    prefix: z
      .string()
      .regex(/^[A-Za-z0-9:._-]{1,64}$/, { error: 'must be 1 to 64 of A-Z a-z 0-9 : . _ -' })
      .optional(),
    sentinels: z
      .array(Endpoint, { error: 'must be a list of HOST:PORT' })
      .min(1, 'must hold at least one entry')
      .optional(),
    master: text('the name of the master that the sentinels watch').optional(),
    sentinel_password_file: text('the path of a file that holds the password of the sentinels').optional(),
    cluster: z
      .union(
        [
          z.boolean({ error: clusterError }),
          z.array(Endpoint, { error: clusterError }).min(1, 'must hold at least one entry'),
        ],
        { error: clusterError },
      )
      .optional(),
    ca: text('the path of a PEM file').optional(),
    cert: text('the path of a PEM file').optional(),
    key: text('the path of a PEM file').optional(),
  },
  { error: memoryError },
);

export const StoreField = z.union(
  [z.string({ error: memoryError }).regex(/^memory$/, { error: memoryError }), StoreMap],
  { error: memoryError },
);

export const STORE_SHAPE = StoreMap.shape;

export type StoreInput = z.infer<typeof StoreField>;

export type StoreSetup =
  | { readonly kind: 'memory' }
  | { readonly kind: 'lmdb'; readonly folder: string }
  | { readonly kind: 'redis'; readonly options: RedisOptions };

const REDIS_ALONE = [
  ...(['password_file', 'timeout', 'prefix', 'sentinels', 'master', 'sentinel_password_file'] as const),
  ...(['cluster', 'ca', 'cert', 'key'] as const),
];

/** `HOST:PORT`, which `ENDPOINT` has let pass. */
const endpoint = (given: string): { host: string; port: number } => {
  const colon = given.lastIndexOf(':');
  return { host: given.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(given.slice(colon + 1)) };
};

type StoreGiven = z.infer<typeof StoreMap>;

/** The password in a file, or undefined and perhaps a fault. */
const passwordOf = (
  given: StoreGiven,
  name: 'password_file' | 'sentinel_password_file',
  { source, read, faults }: Reading,
): string | undefined => {
  const path = given[name];
  if (path === undefined) return undefined;
  const resolved = source?.resolve(path) ?? path;
  const content = read(resolved);
  if (!content.ok) {
    faults.push(`store: ${resolved}: cannot read it: ${content.error}.`);
    return undefined;
  }
  const password = content.value.trim();
  if (password === '') faults.push(`store.${name}: ${path} is empty.`);
  return password;
};

/** Who vouches for the server, and our own certificate. */
const redisTls = (
  { ca, cert, key }: StoreGiven,
  tls: boolean,
  reading: Reading,
): Pick<RedisOptions, 'tls' | 'ca' | 'identity'> => {
  const { faults } = reading;
  for (const [name, value] of Object.entries({ ca, cert, key }))
    if (value !== undefined && !tls)
      faults.push(`store.${name}: means nothing without TLS. Write rediss:// or take it out.`);
  if ((cert === undefined) !== (key === undefined))
    faults.push('store: cert and key go together. Give both or none.');
  const pem = tls ? authorities(reading, ca) : undefined;
  const [material] =
    cert === undefined || key === undefined || !tls ? [] : materialOf(reading, { cert, key });
  return {
    tls,
    ...(pem === undefined ? {} : { ca: pem }),
    ...(material === undefined ? {} : { identity: { cert: material.cert, key: material.key } }),
  };
};

const redisOptions = (given: StoreGiven, redis: string, reading: Reading): RedisOptions | undefined => {
  const { faults } = reading;
  let url: URL;
  let inline: string;
  let username: string;
  try {
    url = new URL(redis);
    // A lone % throws too.
    [inline, username] = [decodeURIComponent(url.password), decodeURIComponent(url.username)];
  } catch {
    faults.push('store.redis: not a URL. Write redis://HOST:PORT/DB, or rediss:// for TLS.');
    return undefined;
  }
  const db = /^\/?(\d{0,5})$/.exec(url.pathname)?.[1];
  if (url.hostname === '' || db === undefined || url.search !== '') {
    faults.push('store.redis: must be redis://HOST:PORT/DB; DB is a number.');
    return undefined;
  }
  const { cluster = false, sentinels = [] } = given;
  if (cluster !== false && (sentinels.length > 0 || Number(db) > 0))
    faults.push('store: a cluster has neither sentinels nor a DB number. Take them out.');
  const password = passwordOf(given, 'password_file', reading);
  const sentinelPassword =
    sentinels.length === 0 ? undefined : passwordOf(given, 'sentinel_password_file', reading);
  if (given.sentinel_password_file !== undefined && sentinels.length === 0)
    faults.push('store.sentinel_password_file: means nothing without sentinels. Take it out.');
  if (password !== undefined && inline !== '')
    faults.push('store: the password stands both in redis and in password_file. Keep the file.');
  const secret = password ?? inline;
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port === '' ? 6379 : Number(url.port),
    db: Number(db),
    ...redisTls(given, url.protocol === 'rediss:', reading),
    ...(username === '' ? {} : { username }),
    ...(secret === '' ? {} : { password: secret }),
    timeout: milliseconds(given.timeout ?? '') ?? 250,
    prefix: given.prefix ?? 'sekisho:',
    sentinels: sentinels.map(endpoint),
    master: given.master ?? 'mymaster',
    ...(sentinelPassword === undefined ? {} : { sentinelPassword }),
    cluster: cluster !== false,
    seeds: typeof cluster === 'boolean' ? [] : cluster.map(endpoint),
  };
};

/** What `store` says; memory when it is not there or wrong. */
export const storeSetup = (given: StoreInput | undefined, reading: Reading): StoreSetup => {
  if (given === undefined || typeof given === 'string') return { kind: 'memory' };
  const { lmdb, redis } = given;
  const { source, faults } = reading;
  if ((lmdb === undefined) === (redis === undefined)) {
    faults.push(`store: ${memoryError}, and not both.`);
    return { kind: 'memory' };
  }
  if (lmdb !== undefined) {
    for (const key of REDIS_ALONE)
      if (given[key] !== undefined) faults.push(`store.${key}: is for redis alone. Take it out.`);
    return { kind: 'lmdb', folder: source?.resolve(lmdb) ?? lmdb };
  }
  const options = redis === undefined ? undefined : redisOptions(given, redis, reading);
  return options === undefined ? { kind: 'memory' } : { kind: 'redis', options };
};
