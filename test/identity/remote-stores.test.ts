/** The contract of credential stores, held by those that ask another server, with real servers behind them. */
import t, { type Test } from 'tap';
import type { CredentialStore } from '../../src/identity/credentials.js';
import type { AttemptOptions } from '../../src/identity/stores/attempts.js';
import { DovecotStore } from '../../src/identity/stores/dovecot.js';
import { imapStore } from '../../src/identity/stores/imap.js';
import { AS_TYPED } from '../../src/identity/stores/login-names.js';
import { NginxHttpStore } from '../../src/identity/stores/nginx-http.js';
import { NO_TLS, type Place } from '../../src/identity/stores/peer.js';
import { pop3Store } from '../../src/identity/stores/pop3.js';
import { upstreamStore } from '../../src/identity/stores/upstream.js';
import {
  type Account,
  type Contract,
  credentialStoreContract,
  ODD,
  type Setting,
  type Started,
} from '../contract/credential-store.js';
import { AuthService } from '../support/auth-service.js';
import { Dovecot } from '../support/dovecot.js';
import { Exim } from '../support/exim.js';
import { noPackages } from '../support/packages.js';
import { babbling, connectionsAt, hangingUp, trickling } from '../support/troubled.js';

const HOST = '127.0.0.1';

/** Those of the contract, which shares one server between all its tests. */
const ACCOUNTS: readonly Account[] = [
  { user: 'alice@example.org', password: 'Correct-Horse-7' },
  { user: 'gone@example.org', password: 'Was-Right-Once-3', disabled: true },
  ...ODD,
];

/** A real server that can be stopped, hung and let go on. */
interface Peer {
  halt(): Promise<void>;
  resume(): Promise<void>;
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void;
}

interface Kind {
  readonly peer: Peer;
  readonly port: number;
  /** What a server of this kind says first, cut off. */
  readonly beginning: string;
  store(port: number, options: AttemptOptions): CredentialStore;
  failing(options: AttemptOptions): Promise<Started>;
  readonly more?: Partial<Contract>;
}

const optionsOf = ({ timeout, inHand }: Setting): AttemptOptions => ({ timeout, maxAttempts: inHand });

const contractOf = (name: string, { peer, port, beginning, store, failing, more }: Kind): Contract => {
  const at = (place: number, setting: Setting): Started => ({
    store: store(place, optionsOf(setting)),
    held: () => connectionsAt(place),
  });
  const inTrouble = (begin: (t: Test) => Promise<number>) => async (t: Test, setting: Setting) =>
    at(await begin(t), setting);
  return {
    name,
    start: async (_, setting) => at(port, setting),
    troubles: {
      stopped: async (_, setting) => ({
        ...at(port, setting),
        cause: () => peer.halt(),
        cure: () => peer.resume(),
      }),
      hung: async (_, setting) => ({
        ...at(port, setting),
        cause: () => peer.signal('SIGSTOP'),
        cure: () => peer.signal('SIGCONT'),
      }),
      slow: inTrouble((t) => trickling(t, port, 100)),
      nonsense: inTrouble(babbling),
      closing: inTrouble((t) => hangingUp(t, beginning)),
      failing: (_, setting) => failing(optionsOf(setting)),
    },
    ...more,
  };
};

const server = { host: HOST, tls: NO_TLS, names: AS_TYPED };

const dovecotWith = (lines = ''): Promise<Dovecot> =>
  Dovecot.start({
    users: ACCOUNTS.map(({ user, password, disabled }) => ({
      user,
      password,
      ...(disabled === true ? { extra: 'nologin' } : {}),
    })),
    lines,
  });

/** It does not know its users itself: it asks an IMAP server that is not there. */
const brokenDovecot = (): Promise<Dovecot> =>
  Dovecot.start({ users: [], lines: 'passdb {\n driver = imap\n args = host=127.0.0.1 port=1\n}\n' });

const ofDovecot: Partial<Contract> = {
  // It folds the case of names.
  spellings: ['Alice@Example.ORG'],
  strangers: ['alice'],
  // It takes no controls in passwords, and its passwd-file does not find names with these.
  holds: ({ user, password }) => !/["'\\]/.test(user) && !password.includes('\t'),
};

const dovecotStore = (place: Place, options: AttemptOptions): DovecotStore =>
  new DovecotStore({ place, tls: NO_TLS, names: AS_TYPED, ...options });

/** Starts what a kind needs; the peers are ended with the test. */
const KINDS: Readonly<Record<string, (t: Test) => Promise<Kind>>> = {
  dovecot: async (t) => {
    const [peer, broken] = await peers(t, dovecotWith(), brokenDovecot());
    return {
      peer,
      port: peer.ports.auth,
      beginning: 'VERSION\t1\t2\nMECH\tPL',
      store: (port, options) => dovecotStore({ host: HOST, port }, options),
      failing: async (options) => ({ store: dovecotStore({ path: broken.socket }, options) }),
      more: ofDovecot,
    };
  },
  pop3: async (t) => {
    const [peer, broken] = await peers(t, dovecotWith(), brokenDovecot());
    return {
      peer,
      port: peer.ports.pop3,
      beginning: '+OK Dov',
      store: (port, options) => pop3Store({ ...server, port, ...options }),
      failing: async (options) => ({ store: pop3Store({ ...server, port: broken.ports.pop3, ...options }) }),
      more: ofDovecot,
    };
  },
  imap: async (t) => {
    const [peer, broken] = await peers(t, dovecotWith(), brokenDovecot());
    return {
      peer,
      port: peer.ports.imap,
      beginning: '* OK [CAPAB',
      store: (port, options) => imapStore({ ...server, port, ...options }),
      failing: async (options) => ({ store: imapStore({ ...server, port: broken.ports.imap, ...options }) }),
      more: ofDovecot,
    };
  },
  upstream: async (t) => {
    const [peer] = await peers(t, Exim.start({ users: ACCOUNTS }));
    const store: Kind['store'] = (port, options) =>
      upstreamStore({ ...server, ownName: 'sekisho.example', port, ...options });
    return {
      peer,
      port: peer.port,
      beginning: '220-exim',
      store,
      failing: async (options) => ({
        store: store(peer.port, options),
        cause: () => peer.losePasswords(true),
        cure: () => peer.losePasswords(false),
      }),
      more: { neverDisabled: true, strangers: ['alice'] },
    };
  },
  http: async (t) => {
    const [peer] = await peers(t, AuthService.start(ACCOUNTS));
    return {
      peer,
      port: peer.port,
      beginning: 'HTTP/1.1 200 OK\r\nAuth-St',
      store: (port, options) => httpStore(port, '/auth', options),
      failing: async (options) => ({ store: httpStore(peer.port, '/failing', options) }),
      more: { strangers: ['alice', 'Alice@example.org'] },
    };
  },
};

const peers = async <P extends { stop(): Promise<void> }[]>(
  t: Test,
  ...starting: { [K in keyof P]: Promise<P[K]> }
): Promise<P> => {
  const started = await Promise.all(starting);
  t.teardown(() => Promise.all(started.map((each) => each.stop())));
  return started;
};

const httpStore = (port: number, path: string, options: AttemptOptions): NginxHttpStore =>
  new NginxHttpStore({
    url: new URL(`http://${HOST}:${port}${path}`),
    tls: NO_TLS,
    names: AS_TYPED,
    proves: ['password'],
    headers: {},
    ...options,
  });

// Their servers keep a wrong password waiting, so most of this is waiting: side by side.
t.jobs = Object.keys(KINDS).length;
for (const [name, start] of Object.entries(KINDS)) {
  t.test(name, { skip: noPackages() ?? false, buffered: true }, async (t) => {
    credentialStoreContract(t, contractOf(name, await start(t)));
  });
}
