// setup, iterations, teardown: what each is given.
// unordered
import http from 'k6/http';
import { check, group } from 'k6';
import exec from 'k6/execution';
import { tell, url } from './lib/tell.js';

export const options = { scenarios: { a: { executor: 'per-vu-iterations', vus: 2, iterations: 2 } } };
let kept = 0;

export function setup() {
  group('made', () => check(http.get(`${url}/setup`), { 'setup went well': (res) => res.status === 200 }));
  tell({ setup: [__VU, typeof __ITER] });
  return { list: [1, 2], nested: { a: null } };
}

export default function (data) {
  kept += 1;
  tell({ data, kept, iteration: [__VU, __ITER], name: exec.scenario.name });
}

export function teardown(data) {
  tell({ teardown: data, kept, vu: [__VU, typeof __ITER] });
}
