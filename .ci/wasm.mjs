// Compiles src/smtp/whole-lines.wat into src/smtp/whole-lines-wasm.ts, which is kept in the repository: nothing is compiled
// or fetched at run time. With --check it only says whether the two belong together.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import wabt from 'wabt';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', 'src', 'smtp');
const source = join(folder, 'whole-lines.wat');
const target = join(folder, 'whole-lines-wasm.ts');

const { parseWat } = await wabt();
const module = parseWat(source, readFileSync(source, 'utf8'), { simd: true });
const { buffer } = module.toBinary({});
const lines =
  Buffer.from(buffer)
    .toString('base64')
    .match(/.{1,100}/g) ?? [];
const text = `/** whole-lines.wat, compiled by \`node .ci/wasm.mjs\`, in base64. */
export const WHOLE_LINES_WASM = [
${lines.map((line) => `  '${line}',\n`).join('')}].join('');
`;

if (!process.argv.includes('--check')) writeFileSync(target, text);
else if (readFileSync(target, 'utf8') !== text) {
  console.error('whole-lines-wasm.ts is not what whole-lines.wat compiles to: run node .ci/wasm.mjs');
  process.exit(1);
}
