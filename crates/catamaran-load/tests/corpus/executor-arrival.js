// Iterations at a rate.
// unordered
import http from 'k6/http';
import exec from 'k6/execution';

export const options = { scenarios: { a: { executor: 'constant-arrival-rate', rate: 20, timeUnit: '1s', duration: '1020ms', preAllocatedVUs: 20 } } };

export default function () { http.get(`${__ENV.URL}/${exec.scenario.executor}`); }
