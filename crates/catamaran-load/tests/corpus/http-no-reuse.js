// A connection for each request, and one for each iteration.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = { noConnectionReuse: true, iterations: 2 };

export default function () {
  http.get(`${url}/hello`);
  tell({ connected: http.get(`${url}/hello`).timings.connecting > 0 });
}
