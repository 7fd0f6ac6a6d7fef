import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { House } from '../house.js';
import { RuleName, schemaOf, stamp, Time } from '../schemas.js';

const SelfTest = z.object({
  at: Time.optional().meta({ description: 'absent: not tried yet' }),
  policy: z.string().optional(),
  forms: z.int().meta({ description: 'forms of relaying that were tried as a stranger' }),
  open: z
    .array(
      z.object({
        form: z.string(),
        mail: z.string().meta({ description: 'as a stranger would say it' }),
        rcpt: z.string(),
        rule: RuleName,
        how: z.string().meta({ description: 'from where, on which listener' }),
      }),
    )
    .meta({ description: 'those that the policy lets through: there should be none' }),
  undecided: z
    .int()
    .meta({ description: 'put off, because a rule asks for what is not known of the stranger' }),
});

export const selfTestRoutes = (app: FastifyInstance, { lastSelfTest }: House): void => {
  app.get(
    '/api/v1/self-test',
    {
      config: { access: 'read' },
      schema: {
        summary: 'Is the relay closed? What the last self-test of the policy in force found',
        description: 'It runs at the start and after each reload. Nothing is sent.',
        tags: ['policy'],
        response: { 200: schemaOf(SelfTest, 'output') },
      },
    },
    async (): Promise<z.output<typeof SelfTest>> => {
      const last = lastSelfTest();
      if (last === undefined) return { forms: 0, open: [], undecided: 0 };
      const { at, policy, forms, open, undecided } = last;
      return { at: stamp(at), policy, forms, open: open.map((each) => ({ ...each })), undecided };
    },
  );
};
