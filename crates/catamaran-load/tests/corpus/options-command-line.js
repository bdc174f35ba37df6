// The command line outdoes the environment.
// unordered
// env K6_ITERATIONS=400
// cli {"vus": 3, "iterations": 6}
import http from 'k6/http';
import exec from 'k6/execution';

export const options = { scenarios: { a: { executor: 'constant-vus', duration: '1h' } } };

export default function () { http.get(`${__ENV.URL}/${exec.scenario.name}/${exec.scenario.executor}`); }
