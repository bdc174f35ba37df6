// The number of virtual users and nothing else.
// unordered
import http from 'k6/http';
import exec from 'k6/execution';

export const options = { vus: 3 };

export default function () { http.get(`${__ENV.URL}/${exec.scenario.executor}/${__ITER}`); }
