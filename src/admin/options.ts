/** What the admin endpoint must be told. Every value has its default here and nowhere else. */
import type { Token } from './tokens.js';

export type AdminPlace =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  /** `mode`: permissions of the socket. */
  | { readonly kind: 'socket'; readonly path: string; readonly mode: number };

export interface AdminOptions {
  readonly place: AdminPlace;
  readonly tokens: readonly Token[];
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  /** Further names by which the endpoint may be called. */
  readonly hosts: readonly string[];
  readonly limits: AdminLimits;
}

/** Times in ms. */
export interface AdminLimits {
  /** Requests of one address in a minute. */
  readonly requests: number;
  readonly connections: number;
  /** Octets of a body. */
  readonly body: number;
  /** From the connection to the end of the headers, and to the end of the request. */
  readonly headersTimeout: number;
  readonly requestTimeout: number;
}

export const DEFAULT_ADMIN_LIMITS: AdminLimits = {
  requests: 3_000,
  connections: 512,
  body: 1_048_576,
  headersTimeout: 10_000,
  requestTimeout: 20_000,
};
