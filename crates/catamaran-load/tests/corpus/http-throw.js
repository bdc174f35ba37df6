// The option that makes all failed requests throw.
import http from 'k6/http';
import { tell, tried, url } from './lib/tell.js';

export const options = { throw: true };

export default function () {
  tell({ refused: tried(() => http.get('http://127.0.0.1:1/').status), status: tried(() => http.get(`${url}/status/500`).status) });
  http.get('http://127.0.0.1:1/');
  tell({ never: 1 });
}
