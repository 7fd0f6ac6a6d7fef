/** What a supervisor and its processes say to one another. Each validates what it hears: they may be of two versions. */
import { z } from 'zod';

/** Counts up with every change that an older side would misunderstand. */
export const PROTOCOL = 1;

/** The first descriptor of a process that is a listening socket: those before are standard ones and the channel. */
export const FIRST_SOCKET = 4;

/** Milliseconds between two signs of life of a process. */
export const BEAT = 1_000;

const Listening = z.object({ listener: z.string(), address: z.string(), port: z.int() });

/** Connections at present: in all, and of the addresses that have most. */
const Connections = z.object({
  total: z.int(),
  addresses: z.array(z.tuple([z.string(), z.int()]).readonly()).readonly(),
});

export const FromProcess = z.discriminatedUnion('type', [
  z.object({ type: z.literal('hello'), protocol: z.int() }),
  z.object({ type: z.literal('ready'), listening: z.array(Listening), upstreams: z.string() }),
  /** It cannot serve; no other process could. */
  z.object({ type: z.literal('failed'), why: z.string() }),
  z.object({ type: z.literal('beat'), connections: Connections }),
  z.object({ type: z.literal('answer'), id: z.int(), body: z.unknown() }),
  z.object({ type: z.literal('decisions'), items: z.array(z.unknown()), missed: z.int() }),
  /** What it had counted when it ended. */
  z.object({ type: z.literal('last'), snapshot: z.unknown() }),
]);
export type FromProcess = z.infer<typeof FromProcess>;

const Flags = z.object({
  config: z.string().optional(),
  listen: z.array(z.string()).readonly().optional(),
  upstream: z.array(z.string()).readonly().optional(),
  localDomain: z.array(z.string()).readonly().optional(),
  trust: z.array(z.string()).readonly().optional(),
  policy: z.string().optional(),
  observe: z.boolean().optional(),
  log: z.string().optional(),
  logLevel: z.string().optional(),
  processes: z.string().optional(),
});

/** The files that a setup was read from, as they were: each process has the same, also one that comes later. */
const Contents = z.record(z.string(), z.string());
export type Contents = z.infer<typeof Contents>;

export const HttpRequest = z.object({
  method: z.enum(['GET', 'POST', 'PUT', 'DELETE']),
  url: z.string(),
  /** Name of the caller's token, who has been let in already. */
  caller: z.string(),
  contentType: z.string().optional(),
  body: z.string().optional(),
});
export type HttpRequest = z.infer<typeof HttpRequest>;

export const HttpAnswer = z.object({ status: z.int(), contentType: z.string(), body: z.string() });
export type HttpAnswer = z.infer<typeof HttpAnswer>;

const Question = z.discriminatedUnion('what', [
  z.object({ what: z.literal('metrics') }),
  /** To read a changed setup; the answer is what is wrong with it, [] for nothing. */
  z.object({ what: z.literal('prepare'), files: Contents }),
  /** To put in force what was prepared. */
  z.object({ what: z.literal('commit') }),
  z.object({ what: z.literal('http'), request: HttpRequest }),
]);
export type Question = z.infer<typeof Question>;

export const Faults = z.array(z.string());

export const ToProcess = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('begin'),
    protocol: z.int(),
    process: z.int(),
    flags: Flags,
    files: Contents,
    /** Names of listeners, in the order of their sockets. */
    sockets: z.array(z.string()),
    /** Of logins, base64. */
    secret: z.string(),
  }),
  z.object({ type: z.literal('ask'), id: z.int(), question: Question }),
  /** Reads logs and answers Whoson from now on: one process does. */
  z.object({ type: z.literal('lead') }),
  /** Connections that the other processes have. */
  z.object({ type: z.literal('elsewhere'), connections: Connections }),
  /** Sends decisions as they are made, or no more. */
  z.object({ type: z.literal('watch'), on: z.boolean() }),
  /** Takes no more clients, and ends when those that are there have ended, or are drained after `ms`. */
  z.object({ type: z.literal('retire'), ms: z.int() }),
  z.object({ type: z.literal('drain'), ms: z.int() }),
  z.object({ type: z.literal('stop') }),
]);
export type ToProcess = z.infer<typeof ToProcess>;
export type Connections = z.infer<typeof Connections>;
