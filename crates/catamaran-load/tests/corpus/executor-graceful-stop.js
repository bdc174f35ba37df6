// An iteration that outlasts its time, and one that does not.
// unordered
import http from 'k6/http';
import { sleep } from 'k6';

export const options = {
  scenarios: {
    cut: { executor: 'constant-vus', vus: 1, duration: '1s', gracefulStop: '100ms', exec: 'long' },
    whole: { executor: 'constant-vus', vus: 1, duration: '1s', gracefulStop: '10s', exec: 'short' },
  },
};

export function long() { try { http.get(`${__ENV.URL}/begun`); sleep(30); } finally { http.get(`${__ENV.URL}/never`); } }
export function short() { sleep(1.3); http.get(`${__ENV.URL}/whole`); }
