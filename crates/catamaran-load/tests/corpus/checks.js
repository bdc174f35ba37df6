// Checks: functions, values, one that throws, tags, within groups.
import { check, group } from 'k6';
import { tell, tried } from './lib/tell.js';

export const options = { iterations: 2, thresholds: { checks: ['rate>0.5'], 'checks{kind:b}': ['rate>0.9'] } };

export default function () {
  tell({
    all: check(5, { 'is five': (v) => v === 5, 'a value': 1, 'is odd': (v) => v % 2 === 1 }),
    some: check({ a: 1 }, { 'a is 1': (o) => o.a === 1, 'a is 2': (o) => o.a === 2 }, { kind: 'b' }),
    threw: tried(() => check(1, { before: true, thrower: () => { throw new Error('no'); }, after: true })),
    none: check(1, {}),
    bad: tried(() => check(1, { 'a::b': true })),
    nothing: tried(() => check(1)),
  });
  group('outer', () => {
    check(null, { 'in a group': (v) => v === null });
    group('inner', () => check('', { 'in a group': '' }));
  });
}
