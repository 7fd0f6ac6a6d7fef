/** Where a Redis is and how it is used. */
export interface RedisOptions {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly tls: boolean;
  readonly username?: string;
  /** Secret. */
  readonly password?: string;
  /** PEM of the authorities that may sign its certificate; the system's without it. */
  readonly ca?: string;
  /** PEM of the certificate by which we are known, and of its key. The key is secret. */
  readonly identity?: { readonly cert: string; readonly key: string };
  /** How long a command may take, ms. */
  readonly timeout: number;
  /** Before every key. */
  readonly prefix: string;
  /** With these, `host` and `port` are not used: they know where the master is. */
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
  /** The master's name among the sentinels. */
  readonly master: string;
  /** What the sentinels ask for; secret. */
  readonly sentinelPassword?: string;
  readonly cluster: boolean;
  /** Nodes of the Cluster to ask beside `host` where its nodes are. */
  readonly seeds: readonly { readonly host: string; readonly port: number }[];
}
