/**
 * In a process of its own: `node --import=tsx test/bench/watcher.ts PORT PAGES` takes lines on its standard input. After
 * `on` it scrapes the metrics each second and holds the streams that open pages have; after `off` it does neither. Each
 * line is answered by a line of JSON with what was read so far.
 */
import http from 'node:http';
import { createInterface } from 'node:readline';

const [port = 0, pages = 0] = process.argv.slice(2).map(Number);
const read = { scrapes: 0, scraped: 0, streamed: 0, failed: 0 };

const get = (path: string, take: (octets: number) => void, done: () => void): http.ClientRequest =>
  http
    .get({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      if (response.statusCode !== 200) read.failed += 1;
      response.on('data', (chunk: Buffer) => take(chunk.length)).on('end', done);
    })
    .on('error', () => (read.failed += 1));

const page = (): http.ClientRequest =>
  get(
    '/api/v1/decisions/stream',
    (octets) => (read.streamed += octets),
    () => (read.failed += 1),
  );

const scrape = (): http.ClientRequest =>
  get(
    '/metrics',
    (octets) => (read.scraped += octets),
    () => (read.scrapes += 1),
  );

const watch = (): (() => void) => {
  const open = Array.from({ length: pages }, page);
  const scrapes = setInterval(scrape, 1_000);
  return () => {
    clearInterval(scrapes);
    for (const each of open)
      each
        .removeAllListeners('error')
        .on('error', () => undefined)
        .destroy();
  };
};

let end: () => void = () => undefined;
for await (const line of createInterface({ input: process.stdin })) {
  end();
  end = line === 'on' ? watch() : () => undefined;
  console.log(JSON.stringify(read));
}
end();
