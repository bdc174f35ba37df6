// Stages.
// loose
import http from 'k6/http';
import { sleep } from 'k6';
import exec from 'k6/execution';

export const options = { stages: [{ duration: '600ms', target: 1 }, { duration: '400ms', target: 0 }] };

export default function () { http.get(`${__ENV.URL}/${exec.scenario.executor}`); sleep(0.2); }
