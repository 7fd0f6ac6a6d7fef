/** A scripted mail server that speaks TLS, well or badly: what an upstream may do around STARTTLS. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { createSecureContext, type SecureContextOptions, TLSSocket } from 'node:tls';
import type { Pair } from './certificates.js';
import { Overhearing } from './overheard.js';

export interface TlsMtaOptions {
  readonly pair: Pair;
  /** TLS from the first octet. */
  readonly implicit?: boolean;
  /** Keywords of EHLO in clear text and under TLS. */
  readonly clear?: readonly string[];
  readonly secure?: readonly string[];
  /** Octets in answer to STARTTLS, `220 go` by default. */
  readonly startTls?: string;
  /** Octets instead of a handshake, after which it closes. */
  readonly insteadOfHandshake?: string;
  /** Says nothing at all in the handshake. */
  readonly mute?: boolean;
  readonly context?: SecureContextOptions;
}

export interface TlsMta {
  readonly port: number;
  /** Every line that came, `T ` before those under TLS. */
  readonly lines: string[];
  /** The server name that clients asked for, false for none. */
  readonly names: (string | false)[];
  readonly sockets: Set<net.Socket>;
  close(): Promise<void>;
}

const ANSWERS: Readonly<Record<string, string>> = {
  DATA: '354 go',
  QUIT: '221 bye',
  HELO: '250 mta.example',
};

export const startTlsMta = async (options: TlsMtaOptions): Promise<TlsMta> => {
  const { pair, clear = ['STARTTLS'], secure = ['SIZE 1000000', 'DSN'], startTls = '220 go\r\n' } = options;
  const lines: string[] = [];
  const names: (string | false)[] = [];
  const sockets = new Set<net.Socket>();
  const secureContext = createSecureContext({
    cert: readFileSync(pair.cert),
    key: readFileSync(pair.key),
    ...options.context,
  });
  const talk = (socket: net.Socket, mark: string, goOn?: () => void): void => {
    let input = '';
    let data = false;
    const heard = new Overhearing('TLS MTA');
    socket.setEncoding('latin1');
    socket.on('error', () => {});
    const say = (octets: string): void => {
      heard.answered(octets);
      socket.write(octets, 'latin1');
    };
    socket.on('data', (text) => {
      input += String(text);
      heard.said(String(text));
      for (let at = input.indexOf('\r\n'); at >= 0; at = input.indexOf('\r\n')) {
        const line = input.slice(0, at);
        input = input.slice(at + 2);
        if (data && line !== '.') continue;
        lines.push(`${mark}${line}`);
        const verb = data ? '.' : (line.split(' ')[0] ?? '');
        data = verb === 'DATA';
        if (verb === 'EHLO') {
          const all = ['mta.example', ...(mark === '' ? clear : secure)];
          say(all.map((each, i) => `250${i === all.length - 1 ? ' ' : '-'}${each}\r\n`).join(''));
        } else if (verb === 'STARTTLS' && mark === '') {
          say(startTls);
          if (startTls.startsWith('220')) {
            socket.removeAllListeners('data');
            goOn?.();
            return;
          }
        } else {
          say(`${ANSWERS[verb] ?? '250 2.0.0 AAA00001 ok'}\r\n`);
          if (verb === 'QUIT') socket.end();
        }
      }
    });
  };
  const wrap = (socket: net.Socket, done: (secured: TLSSocket) => void): void => {
    if (options.insteadOfHandshake !== undefined) {
      socket.once('data', () => socket.end(options.insteadOfHandshake ?? '', 'latin1'));
      return;
    }
    if (options.mute === true) {
      socket.resume();
      return;
    }
    const secured = new TLSSocket(socket, { isServer: true, secureContext });
    secured.on('error', () => socket.destroy());
    secured.once('secure', () => {
      const asked: unknown = Reflect.get(secured, 'servername');
      names.push(typeof asked === 'string' ? asked : false);
      done(secured);
    });
  };
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    const greeting = '220 mta.example ESMTP\r\n';
    if (options.implicit === true) {
      wrap(socket, (secured) => {
        talk(secured, 'T ');
        secured.write(greeting);
      });
      return;
    }
    talk(socket, '', () => wrap(socket, (secured) => talk(secured, 'T ')));
    socket.write(greeting);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    lines,
    names,
    sockets,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
};
