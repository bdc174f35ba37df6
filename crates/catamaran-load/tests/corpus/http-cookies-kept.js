// Cookies that outlive the iteration.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = { iterations: 2, noCookiesReset: true };

export default function () {
  tell({ cookies: http.get(`${url}/cookies`).body });
  http.get(`${url}/cookie?kept=${__ITER}`);
}
