// Arrays that virtual users share.
// unordered
import { SharedArray } from 'k6/data';
import { tell, tried } from './lib/tell.js';

const data = new SharedArray('data', () => [{ a: 1, deep: { b: [1, 2] } }, 'text', 5, null, [1]]);
const again = new SharedArray('data', () => { throw new Error('not made again'); });
export const options = { scenarios: { a: { executor: 'per-vu-iterations', vus: 2 } } };

export default function () {
  'use strict';
  const seen = [];
  for (const one of data) seen.push(one);
  tell({
    length: data.length, first: data[0], deep: data[0].deep.b[1], beyond: data[9], seen, again: again.length, map: data.map((one) => typeof one),
    frozen: tried(() => { 'use strict'; data[0].a = 2; return data[0].a; }), set: tried(() => { 'use strict'; data[0] = 5; return data[0]; }), push: tried(() => data.push(1)),
    found: data.find((one) => one === 5), late: tried(() => new SharedArray('late', () => [1])), same: data[0] === data[0], in: 0 in data, negative: data[-1],
    filter: data.filter((one) => typeof one === 'number'), json: JSON.stringify(data[0]), keys: Object.keys(data), isArray: Array.isArray(data),
  });
}
