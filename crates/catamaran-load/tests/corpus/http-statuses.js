// Statuses, what they are called, and which are failures.
import http from 'k6/http';
import { tell, url } from './lib/tell.js';

export const options = { thresholds: { http_req_failed: ['rate<0.9'], 'http_req_failed{status:404}': ['rate==1'] } };

export default function () {
  for (const status of [200, 201, 204, 299, 300, 304, 400, 401, 404, 418, 429, 500, 503, 599]) {
    const res = http.get(`${url}/status/${status}`);
    tell({ [status]: [res.status, res.status_text, res.error, res.error_code, res.body] });
  }
}
