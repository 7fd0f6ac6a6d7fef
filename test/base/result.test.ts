import t from 'tap';
import { err, ok } from '../../src/base/result.js';

t.same(ok(1), { ok: true, value: 1 });
t.same(err('x'), { ok: false, error: 'x' });
