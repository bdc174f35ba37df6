// Iterations and virtual users.
// unordered
import http from 'k6/http';
import exec from 'k6/execution';

export const options = { vus: 2, iterations: 5 };

export default function () { http.get(`${__ENV.URL}/${exec.scenario.executor}`); }
