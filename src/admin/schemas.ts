/** Shapes that several routes share, and the way from a zod schema to the JSON Schema that Fastify takes. */
import { z } from 'zod';

/** JSON Schema (draft 7) of what comes in or goes out. */
export const schemaOf = (schema: z.ZodType, io: 'input' | 'output' = 'input'): object => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, {
    target: 'draft-7',
    io,
    override: ({ jsonSchema }) => {
      // Every whole number would have the bounds of JavaScript's.
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
      if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
    },
  });
  return rest;
};

export const Time = z.string().meta({ format: 'date-time', description: 'ISO 8601, UTC' });

/** An end that may never come. */
export const End = Time.nullable().meta({ description: 'null: no end' });

/** A moment for people and programs alike; null: no end. */
export const moment = (time: number): string | null =>
  Number.isFinite(time) ? new Date(time).toISOString() : null;

/** A moment that certainly is one. */
export const stamp = (time: number): string => new Date(time).toISOString();

/** How many entries a list shows at most. */
export const Limit = (usual: number, most: number) => z.int().min(1).max(most).default(usual);

export const Address = z.string().min(2).max(64).meta({ description: 'an IP address' });
export const Login = z.string().min(1).max(255).meta({ description: 'a login as the log writes it' });
export const RuleName = z.string().meta({ description: 'name of a rule' });

const FaultShape = z.object({
  in: z.string(),
  at: z.string(),
  message: z.string(),
  line: z.int().optional(),
  column: z.int().optional(),
});

export const ProblemShape = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string().optional(),
    errors: z.array(FaultShape).optional(),
  })
  .meta({ description: 'problem details (RFC 9457)' });
