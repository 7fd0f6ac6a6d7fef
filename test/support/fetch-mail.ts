/** A POP3 client that logs in and leaves. */
import net from 'node:net';

/** Logs in as bob; resolves when the client is told whether it may. */
export const fetchMail = (port: number, from: string, password = 'secret'): Promise<boolean> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port, localAddress: from });
    let heard = '';
    socket.setTimeout(60_000, () => socket.destroy(new Error(`POP3: no answer after ${heard}`)));
    socket.once('error', reject);
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1');
      const answers = heard.split('\r\n').length - 1;
      if (answers === 1) socket.write('USER bob\r\n');
      if (answers === 2) socket.write(`PASS ${password}\r\n`);
      if (answers !== 3) return;
      socket.end('QUIT\r\n');
      resolve(heard.split('\r\n')[2]?.startsWith('+OK') ?? false);
    });
  });
