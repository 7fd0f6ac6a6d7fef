/**
 * Reading from a socket that was accepted into buffers of one's own choice, as `onread` has it for sockets that connect.
 * Otherwise Node makes a buffer of 64 KB for each read, however little comes, and the kernel finds pages for it: of large
 * messages that is half of all a proxy does.
 *
 * Node has no public way to say so of an accepted socket. What its constructor does for `onread` is done here afterwards
 * (the same from Node 20 to 24). Where it is not as expected, nothing is done, and all is read as ever; nothing else here
 * knows of it.
 */
import net from 'node:net';

export interface Reader {
  /** So many octets are at the beginning of the room that `room` gave last. */
  read(count: number): void;
  /** Where the next octets go; asked once at the beginning, then after each read. */
  room(): Buffer;
}

interface Handle {
  useUserBuffer(room: Buffer): void;
}

const isHandle = (value: unknown): value is Handle =>
  typeof value === 'object' &&
  value !== null &&
  'useUserBuffer' in value &&
  typeof value.useUserBuffer === 'function';

interface Places {
  readonly room: symbol;
  readonly read: symbol;
  readonly next: symbol;
}

const find = (): Places | undefined => {
  const own = Object.getOwnPropertySymbols(new net.Socket());
  const named = (name: string): symbol | undefined => own.find(({ description }) => description === name);
  const [room, read, next] = [named('kBuffer'), named('kBufferCb'), named('kBufferGen')];
  return room && read && next ? { room, read, next } : undefined;
};

let places: Places | undefined | 'not looked for' = 'not looked for';

/** What has come before is told by 'data', before the rest. False: 'data' tells all, as ever. */
export const readInto = (socket: net.Socket, reader: Reader): boolean => {
  if (places === 'not looked for') places = find();
  const handle: unknown = Reflect.get(socket, '_handle');
  // Of TLS, others read.
  if (places === undefined || !isHandle(handle) || 'encrypted' in socket) return false;
  const room = reader.room();
  handle.useUserBuffer(room);
  Reflect.set(socket, places.room, room);
  Reflect.set(socket, places.read, (count: number): boolean => {
    reader.read(count);
    return true;
  });
  Reflect.set(socket, places.next, () => reader.room());
  return true;
};
