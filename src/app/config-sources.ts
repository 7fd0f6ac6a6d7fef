/** `roaming.logs` and `roaming.whoson` of the configuration. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { parseCidr } from '../base/ip.js';
import { UNIT_NAME } from '../windows/sources/log-journal.js';
import { LOG_FORMAT_NAMES } from '../windows/sources/log-patterns.js';
import { sitePattern } from '../windows/sources/log-site-pattern.js';
import { zoneOf } from '../windows/sources/log-time.js';
import type { LogOptions, SourceOptions } from '../windows/sources/sources.js';
import { WHOSON_PORT, type WhosonOptions } from '../windows/sources/whoson.js';
import { count, text } from './config-fields.js';

const formatError = `must be one of ${LOG_FORMAT_NAMES.join(', ')}; for another server write a pattern instead`;
const unitError = 'must be the full name of a unit, such as dovecot.service';
const zoneError = 'must be UTC, an offset such as +09:00, or a zone such as Asia/Tokyo';

const Journal = z.strictObject(
  {
    unit: z.string({ error: unitError }).regex(UNIT_NAME, { error: unitError }),
    directory: text('the path of a folder with journal files').optional(),
  },
  { error: 'must be a map with unit' },
);

/** What is wrong with a pattern of the site's own. */
const patternFault = (given: unknown): string | undefined => {
  const pattern = sitePattern(String(given));
  return pattern.ok ? undefined : pattern.error;
};

const LogFields = {
  file: text('the path of a log file').optional(),
  journal: Journal.optional(),
  format: z.enum(LOG_FORMAT_NAMES, { error: formatError }).optional(),
  pattern: text('a pattern with the groups user and address')
    .refine((given) => patternFault(given) === undefined, { error: ({ input }) => patternFault(input) })
    .optional(),
  zone: z
    .string({ error: zoneError })
    .refine((given) => zoneOf(given) !== undefined, { error: zoneError })
    .optional(),
};

/** What is wrong with a log as a whole. */
const entryFault = ({
  file,
  journal,
  format,
  pattern,
  zone,
}: z.infer<typeof LogShape>): string | undefined => {
  if ((file === undefined) === (journal === undefined)) return 'must have either file or journal';
  if ((format === undefined) === (pattern === undefined)) return 'must have either format or pattern';
  if (journal !== undefined && format === 'exchange')
    return 'must have a file: Exchange writes protocol logs and no journal';
  return journal !== undefined && zone !== undefined
    ? 'must have no zone: a journal knows its times'
    : undefined;
};

const LogShape = z.strictObject(LogFields, {
  error: 'must be a log: a map with file or journal, and format or pattern',
});

export const LogEntryField = LogShape.superRefine((given, context) => {
  const message = entryFault(given);
  if (message !== undefined) context.addIssue({ code: 'custom', message });
});

const peerFault = (given: unknown): string | undefined => {
  const cidr = parseCidr(String(given));
  if (!cidr.ok) return cidr.error;
  return cidr.value.prefix === 0 ? 'would believe everybody: list those who log users in' : undefined;
};

const Peer = z
  .string({ error: 'must be an address or a network' })
  .refine((given) => peerFault(given) === undefined, { error: ({ input }) => peerFault(input) });

const addressError = 'must be an IP address';

const WhosonFields = {
  host: z
    .string({ error: addressError })
    .refine((given) => isIP(given) !== 0, { error: addressError })
    .optional(),
  port: count(0, 65_535).optional(),
  peers: z
    .array(Peer, { error: 'must be a list of addresses and networks' })
    .min(1, 'must hold at least one entry')
    .optional(),
};

export const WhosonField = z.strictObject(WhosonFields, { error: 'must be a map with host, port and peers' });

/** The keys that may stand in `roaming` at `path`. */
export const sourceKeysAt = ([section, , inner]: readonly (string | number)[]):
  | readonly string[]
  | undefined => {
  if (section === 'whoson') return Object.keys(WhosonFields);
  return inner === 'journal' ? Object.keys(Journal.shape) : Object.keys(LogFields);
};

export type LogInput = z.infer<typeof LogEntryField>;
export type WhosonInput = z.infer<typeof WhosonField>;

const logOptions = (given: LogInput, resolve: (path: string) => string): LogOptions => {
  const { file = '', journal, format, pattern = '', zone } = given;
  const directory = journal?.directory === undefined ? undefined : resolve(journal.directory);
  return {
    place: journal === undefined ? { file: resolve(file) } : { journal: { unit: journal.unit, directory } },
    format: format ?? { pattern },
    zone,
  };
};

const whosonOptions = ({ host, port, peers }: WhosonInput): WhosonOptions => ({
  host: host ?? '127.0.0.1',
  port: port ?? WHOSON_PORT,
  peers: (peers ?? ['127.0.0.0/8', '::1/128']).flatMap((each) => {
    const cidr = parseCidr(each);
    return cidr.ok ? [cidr.value] : [];
  }),
});

/** What `roaming` says of logs and Whoson. */
export const sourceOptions = (
  {
    logs,
    whoson,
  }: { readonly logs?: readonly LogInput[] | undefined; readonly whoson?: WhosonInput | undefined },
  resolve: (path: string) => string,
): SourceOptions => ({
  logs: (logs ?? []).map((given) => logOptions(given, resolve)),
  whoson: whoson === undefined ? undefined : whosonOptions(whoson),
});
