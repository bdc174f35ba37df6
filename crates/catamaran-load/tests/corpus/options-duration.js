// Virtual users and a time.
// loose
import http from 'k6/http';
import { sleep } from 'k6';
import exec from 'k6/execution';

export const options = { vus: 2, duration: '1s' };

export default function () { http.get(`${__ENV.URL}/${__VU}/${exec.scenario.executor}`); sleep(0.3); }
