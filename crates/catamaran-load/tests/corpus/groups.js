// Groups: names, nesting, what they return, what they throw, tags.
import http from 'k6/http';
import { check, group } from 'k6';
import { tell, tried, url } from './lib/tell.js';

export default function () {
  tell({ returned: group('first', () => 5), nothing: group('empty', () => {}) });
  group('outer', () => {
    http.get(`${url}/outer`);
    group('inner', () => { http.get(`${url}/inner`); check(1, { inside: true }); });
    group('with spaces & signs', () => check(1, { inside: false }));
  });
  group('outer', () => check(1, { again: true }));
  tell({
    threw: tried(() => group('thrower', () => { throw new Error('no'); })), bad: tried(() => group('a::b', () => 1)),
    async: tried(() => group('later', async () => 1)),
  });
  http.get(`${url}/after`);
}
