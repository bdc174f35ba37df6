// Virtual users of the command line above scenarios.
// unordered
// cli {"vus": 2}
import http from 'k6/http';
import exec from 'k6/execution';

export const options = { scenarios: { a: { executor: 'constant-vus', duration: '1h' } } };

export default function () { http.get(`${__ENV.URL}/${exec.scenario.name}/${exec.scenario.executor}`); }
