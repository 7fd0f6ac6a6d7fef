/** The part of `sekisho.yaml` about roaming users: what opens windows, and what they are. */
import { z } from 'zod';
import { type Cidr, parseCidr } from '../base/ip.js';
import { count, Duration, milliseconds, oneOf } from './config-fields.js';
import { MailProxyEntry } from './config-mail.js';
import { LogEntryField, WhosonField } from './config-sources.js';
import { STORE_SHAPE } from './config-store.js';

/** A network; finer than an IPv6 /64 would miss its neighbours, who share its window. */
const networkFault = (given: unknown): string | undefined => {
  const cidr = parseCidr(String(given));
  if (!cidr.ok) return cidr.error;
  return cidr.value.family === 6 && cidr.value.prefix > 64
    ? 'windows are opened for a whole /64: write an IPv6 network of at most 64 bits'
    : undefined;
};

const Network = z
  .string({ error: 'must be a network such as 192.0.2.0/24' })
  .refine((given) => networkFault(given) === undefined, { error: ({ input }) => networkFault(input) });

export const RoamingField = z.strictObject(
  {
    window: Duration.optional(),
    budget: count(0).optional(),
    most_logins: count(1, 1_000).optional(),
    shared: z.array(Network, { error: 'must be a list of networks' }).optional(),
    proxies: z
      .array(MailProxyEntry, { error: 'must be a list of POP3 and IMAP proxies' })
      .min(1, 'must hold at least one entry')
      .optional(),
    logs: z
      .array(LogEntryField, { error: 'must be a list of logs' })
      .min(1, 'must hold at least one entry')
      .optional(),
    whoson: WhosonField.optional(),
    from: z.array(oneOf(['smtp-auth']), { error: 'must be a list, such as [smtp-auth]' }).optional(),
  },
  { error: 'must be a map with window, budget, most_logins, shared, from, proxies, logs and whoson' },
);

export const STATE_SHAPES = { store: STORE_SHAPE, roaming: RoamingField.shape } as const;

export type RoamingInput = z.infer<typeof RoamingField>;

export interface RoamingSetup {
  /** How long a window is open, ms. */
  readonly length: number;
  /** Recipients in a window; 0: no bound of its own. */
  readonly budget: number;
  readonly mostLogins: number;
  readonly shared: readonly Cidr[];
  /** A login over SMTP opens a window too. */
  readonly fromSmtpAuth: boolean;
}

export const roamingSetup = (given: RoamingInput = {}): RoamingSetup => ({
  length: milliseconds(given.window ?? '') ?? 900_000,
  budget: given.budget ?? 0,
  mostLogins: given.most_logins ?? 3,
  shared: (given.shared ?? []).flatMap((each) => {
    const cidr = parseCidr(each);
    return cidr.ok ? [cidr.value] : [];
  }),
  fromSmtpAuth: given.from?.includes('smtp-auth') ?? false,
});
