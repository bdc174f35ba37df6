// No options at all.
import http from 'k6/http';
import exec from 'k6/execution';

export default function () { http.get(`${__ENV.URL}/${exec.scenario.name}/${exec.scenario.executor}`); }
