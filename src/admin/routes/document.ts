/** The OpenAPI document, and the same as a page for people: made here, nothing fetched, no script. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { schemaOf } from '../schemas.js';

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const map = (value: unknown): Record<string, unknown> => (isMap(value) ? value : {});
const text = (value: unknown): string => (typeof value === 'string' ? value : '');
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

const escaped = (value: string): string =>
  value.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);

const typeText = (schema: Record<string, unknown>): string => {
  if (schema.enum !== undefined) return list(schema.enum).map(String).join(' | ');
  if (schema.const !== undefined) return String(schema.const);
  const choice = list(schema.anyOf).map((each) => typeText(map(each)));
  if (choice.length > 0) return choice.join(' | ');
  if (schema.type === 'array') return `list of ${typeText(map(schema.items))}`;
  return text(schema.type) || 'any';
};

/** The fields of an object as rows, those below it named with dots. */
const rows = (schema: Record<string, unknown>, under = ''): string[] => {
  const required = new Set(list(schema.required));
  return Object.entries(map(schema.properties)).flatMap(([name, value]) => {
    const field = map(value);
    const inner = field.type === 'array' ? map(field.items) : field;
    const full = `${under}${name}${field.type === 'array' ? '[]' : ''}`;
    const extra = [required.has(name) ? '' : 'optional', text(field.description)].filter(Boolean).join('; ');
    const row = `<tr><td><code>${escaped(full)}</code></td><td>${escaped(typeText(field))}</td><td>${escaped(extra)}</td></tr>`;
    return [row, ...rows(inner, `${full}.`)];
  });
};

const table = (title: string, body: readonly string[]): string =>
  body.length === 0 ? '' : `<h4>${title}</h4><table><tbody>${body.join('')}</tbody></table>`;

const schemaIn = (content: unknown): Record<string, unknown> =>
  map(map(Object.values(map(content))[0]).schema);

const operationHtml = (path: string, method: string, operation: Record<string, unknown>): string => {
  const parameters = list(operation.parameters).map((each) => {
    const { name, schema, required, description } = map(each);
    const extra = [required === true ? '' : 'optional', text(description)].filter(Boolean).join('; ');
    return `<tr><td><code>${escaped(text(name))}</code></td><td>${escaped(typeText(map(schema)))}</td><td>${escaped(extra)}</td></tr>`;
  });
  const answers = Object.entries(map(operation.responses))
    .filter(([status]) => /^2/.test(status))
    .map(([status, answer]) => table(`answer ${status}`, rows(schemaIn(map(answer).content))));
  return `<section><h3><b>${method.toUpperCase()}</b> <code>${escaped(path)}</code></h3>
<p>${escaped(text(operation.summary))}${operation.security === undefined ? '' : ' <i>needs a token where there are tokens</i>'}</p>
<p>${escaped(text(operation.description))}</p>
${table('parameters', parameters)}${table('body', rows(schemaIn(map(operation.requestBody).content)))}${answers.join('')}</section>`;
};

const STYLE = `:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:60rem;margin:2rem auto;padding:0 1rem}
h3{margin:2.5rem 0 .25rem}h3 b{font-size:.8em}h4{margin:1rem 0 .25rem}
section{border-top:1px solid color-mix(in srgb,currentColor 25%,transparent)}
table{border-collapse:collapse;width:100%;font-size:.9rem}
td{padding:.15rem .75rem .15rem 0;vertical-align:top;border-top:1px solid color-mix(in srgb,currentColor 10%,transparent)}
code{font-family:ui-monospace,monospace;overflow-wrap:anywhere}
@media(max-width:40rem){td{display:block;border:0;padding:0}tr{display:block;margin:.5rem 0}}
`;

const pageOf = (document: Record<string, unknown>): string => {
  const { title, version, description } = map(document.info);
  const operations = Object.entries(map(document.paths)).flatMap(([path, methods]) =>
    Object.entries(map(methods)).map(([method, operation]) => operationHtml(path, method, map(operation))),
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(text(title))}</title><link rel="stylesheet" href="/api/v1/style.css"></head>
<body><h1>${escaped(text(title))} ${escaped(text(version))}</h1>
<p>${escaped(text(description))} The same for programs: <a href="/api/v1/openapi.json">openapi.json</a>.</p>
${operations.join('\n')}
</body></html>
`;
};

export const documentRoutes = (app: FastifyInstance): void => {
  const tags = ['document'];
  app.get(
    '/api/v1/openapi.json',
    {
      config: { access: 'public' },
      schema: {
        summary: 'This API as an OpenAPI 3.1 document',
        tags,
        response: { 200: schemaOf(z.looseObject({ openapi: z.string() })) },
      },
    },
    async (_, reply) => reply.serializer(JSON.stringify).send(app.swagger()),
  );
  let page: string | undefined;
  app.get(
    '/api/v1/',
    { config: { access: 'public' }, schema: { summary: 'This page', tags, produces: ['text/html'] } },
    async (_, reply) => {
      page ??= pageOf(map(app.swagger()));
      return reply.type('text/html; charset=utf-8').send(page);
    },
  );
  app.get(
    '/api/v1/style.css',
    { config: { access: 'public' }, schema: { summary: 'Its style', tags, hide: true } },
    async (_, reply) => reply.type('text/css; charset=utf-8').send(STYLE),
  );
};
