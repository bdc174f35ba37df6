// Iterations at a rate in an unusual unit.
// unordered
import http from 'k6/http';

export const options = { scenarios: { a: { executor: 'constant-arrival-rate', rate: 300, timeUnit: '1m', duration: '1100ms', preAllocatedVUs: 20, maxVUs: 30 } } };

export default function () { http.get(`${__ENV.URL}/at-a-rate`); }
