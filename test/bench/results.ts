/** What a run of the benchmark leaves behind, as JSON. Times are microseconds, sizes octets. */
import path from 'node:path';
import { z } from 'zod';

/** The results that the README tells of. */
export const COMMITTED = path.join(import.meta.dirname ?? 'test/bench', 'results.json');

/** One measurement of one subject. CPU is per unit (a message, a megabyte, an attempt). */
export const FiguresSchema = z.object({
  rate: z.number(),
  /** Of the subject; none for the mail server alone. */
  cpu: z.number().optional(),
  sinkCpu: z.number(),
  generatorCpu: z.number(),
  /** What share of one core the generator took: near 1 it would be what is measured. */
  generatorBusy: z.number(),
  p50: z.number(),
  p99: z.number(),
  memory: z.number().optional(),
  errors: z.number(),
  error: z.string(),
});
export type Figures = z.infer<typeof FiguresSchema>;

const SubjectSchema = z.object({
  name: z.string(),
  /** For how long it was used beforehand; none: it was not, or by an older form of the benchmark. */
  warmed: z.object({ seconds: z.number(), settled: z.boolean() }).optional(),
  rounds: z.array(FiguresSchema),
});
const MissingSchema = z.object({ name: z.string(), reason: z.string() });

const WorkloadSchema = z.object({
  name: z.string(),
  title: z.string(),
  unit: z.string(),
  subjects: z.array(SubjectSchema),
  missing: z.array(MissingSchema),
});
export type WorkloadResult = z.infer<typeof WorkloadSchema>;

const MicroSchema = z.object({
  name: z.string(),
  unit: z.string(),
  microseconds: z.number(),
  note: z.string(),
});
export type Micro = z.infer<typeof MicroSchema>;

export const ResultsSchema = z.object({
  taken: z.string(),
  machine: z.object({
    cpus: z.number(),
    model: z.string(),
    memory: z.number(),
    kernel: z.string(),
    node: z.string(),
  }),
  rounds: z.number(),
  seconds: z.number(),
  workloads: z.array(WorkloadSchema),
  micro: z.array(MicroSchema),
});
export type Results = z.infer<typeof ResultsSchema>;

/** The rounds of a subject; none when it was not measured. */
export const roundsOf = (workload: WorkloadResult, subject: string): readonly Figures[] =>
  workload.subjects.find(({ name }) => name === subject)?.rounds ?? [];
