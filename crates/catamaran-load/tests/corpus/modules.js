// Modules by path.
// unordered
import Thing, * as all from './lib/module.js';
import { add, count, data, more, renamed } from './lib/module.js';
import k6 from 'k6';
import * as http from 'k6/http';
import { tell } from './lib/tell.js';

export const options = { scenarios: { a: { executor: 'per-vu-iterations', vus: 2, iterations: 2 } } };

export default function () {
  add();
  tell({ count, name: new Thing().name(), renamed, more, data, keys: Object.keys(all).sort(), same: k6.check === k6.check, http: typeof http.get });
}
