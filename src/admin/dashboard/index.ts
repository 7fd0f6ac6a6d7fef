/** The page at `/`: a few files that were built with the program, read once and served as they are. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type {} from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

interface Asset {
  readonly type: string;
  readonly body: Buffer;
  readonly etag: string;
}

/** Beside this file; for the sources themselves, where they were built to. */
const builtPage = (): string => {
  const here = fileURLToPath(new URL('./client/', import.meta.url));
  return existsSync(path.join(here, 'main.js'))
    ? here
    : fileURLToPath(new URL('../../../dist/admin/dashboard/client/', import.meta.url));
};

/** The files by their names. Throws when the page was not built. */
const readAssets = (folder: string): ReadonlyMap<string, Asset> => {
  const names = readdirSync(folder).filter((name) => path.extname(name) in TYPES);
  return new Map(
    names.map((name) => {
      const body = readFileSync(path.join(folder, name));
      const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
      return [name, { type: TYPES[path.extname(name)] ?? '', body, etag }];
    }),
  );
};

/** Adds the page to the endpoint. It holds no secret, so it needs no token: what it shows, it asks the API for. */
export const dashboard = (app: FastifyInstance): void => {
  for (const [name, { type, body, etag }] of readAssets(builtPage())) {
    app.get(
      name === 'index.html' ? '/' : `/assets/${name}`,
      { config: { access: 'public' }, schema: { hide: true } },
      async (request, reply) => {
        // A new version is seen at once, and an old one is not sent twice.
        void reply.headers({ etag, 'cache-control': 'no-cache' });
        return request.headers['if-none-match'] === etag
          ? reply.code(304).send()
          : reply.type(type).send(body);
      },
    );
  }
};
