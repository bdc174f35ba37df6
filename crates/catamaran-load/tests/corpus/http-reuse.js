// Connections stay with the virtual user.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = { iterations: 2 };

export default function () {
  const first = http.get(`${url}/hello`).timings.connecting > 0;
  tell({ first, second: http.get(`${url}/hello`).timings.connecting > 0 });
}
