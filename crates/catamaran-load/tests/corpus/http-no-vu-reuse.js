// Connections end with the iteration.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = { iterations: 2, noVUConnectionReuse: true };

export default function () {
  const first = http.get(`${url}/hello`).timings.connecting > 0;
  tell({ first, second: http.get(`${url}/hello`).timings.connecting > 0 });
}
