// At most so many requests a second.
import http from 'k6/http';
import exec from 'k6/execution';
import { tell, url } from './lib/tell.js';

export const options = { rps: 20, iterations: 1 };

export default function () {
  const begin = Date.now();
  for (let n = 0; n < 7; n += 1) http.get(`${url}/hello`);
  const took = Date.now() - begin;
  tell({ takesSixPauses: took >= 250 && took < 3000, seen: exec.test.options.rps });
}
