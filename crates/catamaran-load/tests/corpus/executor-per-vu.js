// Iterations of each virtual user.
// unordered
import http from 'k6/http';
import exec from 'k6/execution';

export const options = { scenarios: { a: { executor: 'per-vu-iterations', vus: 3, iterations: 2 } } };

export default function () { http.get(`${__ENV.URL}/${__VU}/${__ITER}/${exec.scenario.executor}`); }
