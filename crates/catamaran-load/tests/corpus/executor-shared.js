// Iterations that virtual users share.
// unordered
import http from 'k6/http';
import { sleep } from 'k6';
import exec from 'k6/execution';

export const options = { scenarios: { a: { executor: 'shared-iterations', vus: 3, iterations: 10, maxDuration: '20s' } } };

export default function () { http.get(`${__ENV.URL}/${exec.scenario.iterationInTest}/${exec.scenario.executor}`); sleep(0.01); }
