/** The `limit:` of a rule, as several routes show it. */
import { z } from 'zod';
import type { Limit } from '../../policy/limit.js';

export const LimitShape = z.object({
  per: z.string(),
  // biome-ignore lint/suspicious/noThenProperty: the word of the policy language, and no function.
  then: z.string(),
  counts: z.array(z.object({ what: z.string(), most: z.int(), seconds: z.number() })),
});

export const shownLimit = ({ per, then, counts }: Limit): z.output<typeof LimitShape> => ({
  per,
  then,
  counts: counts.map(({ what, most, period }) => ({ what, most, seconds: period / 1000 })),
});
