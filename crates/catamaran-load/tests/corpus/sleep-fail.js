// sleep, fail, and an iteration that throws.
import http from 'k6/http';
import { fail, sleep } from 'k6';
import { tell, tried, url } from './lib/tell.js';

export const options = { iterations: 3 };

export default function () {
  const before = Date.now();
  sleep(0.05);
  tell({ slept: Date.now() - before >= 49, returned: sleep(0.001), none: tried(() => sleep(0)), failed: tried(() => fail('why')) });
  if (__ITER === 1) fail('the second');
  if (__ITER === 2) throw new Error('the third');
  http.get(`${url}/end`);
}
