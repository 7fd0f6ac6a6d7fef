/** A connection that is made to see whether there is one, and what is said first. */
import net from 'node:net';
import { err, ok, type Result } from '../base/result.js';

/** So much of a greeting is read, octets. */
const MOST = 512;

export interface Place {
  readonly host: string;
  readonly port: number;
}

/** `host:port`, an IPv6 address in brackets. */
export const placeText = ({ host, port }: Place): string =>
  net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;

/**
 * The first line that the server says, '' where it says nothing within the time (TLS from the first octet, or a slow
 * one); an error where no connection comes about. `patience`: ms.
 */
export const firstLine = ({ host, port }: Place, patience: number): Promise<Result<string, string>> =>
  new Promise((resolve) => {
    const socket = net.connect({ host, port });
    let text = '';
    let connected = false;
    const done = (result: Result<string, string>): void => {
      resolve(result);
      socket.destroy();
    };
    socket.setTimeout(patience, () => done(connected ? ok(text) : err('no connection in time')));
    socket.on('connect', () => {
      connected = true;
    });
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      const [line, ...rest] = text.split(/\r?\n/);
      if (rest.length > 0 || text.length > MOST) done(ok(line ?? ''));
    });
    socket.on('error', (error) => done(err(error.message)));
    socket.on('close', () => done(connected ? ok(text) : err('it closed the connection')));
  });
