/** How events reach those who subscribed. */
import t from 'tap';
import { fanOut, hearing, type Note, type SekishoEvent } from '../../src/base/events.js';

const WARNING: SekishoEvent = { type: 'warning', text: 'x' };
const REUSE: SekishoEvent = { type: 'upstream-reuse', upstream: 'u' };

t.test('each subscriber hears what it wants to, in order, whatever becomes of the others', async (t) => {
  const heard: string[] = [];
  const errors: unknown[] = [];
  const failing: Note = ({ type }) => {
    throw new Error(type);
  };
  const note = fanOut(
    [
      ({ type }) => heard.push(`all ${type}`),
      failing,
      hearing(['warning', 'stopped'], ({ type }) => heard.push(`some ${type}`)),
      ({ type }) => heard.push(`last ${type}`),
    ],
    (error) => errors.push(error),
  );
  for (const event of [WARNING, REUSE, WARNING]) note(event);
  const warned = ['all warning', 'some warning', 'last warning'];
  t.strictSame(heard, [...warned, 'all upstream-reuse', 'last upstream-reuse', ...warned]);
  t.match(errors, [{ message: 'warning' }, { message: 'upstream-reuse' }, { message: 'warning' }]);
});
