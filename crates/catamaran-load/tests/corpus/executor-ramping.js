// Virtual users whose number moves.
// loose
import http from 'k6/http';
import { sleep } from 'k6';
import exec from 'k6/execution';

export const options = {
  scenarios: {
    a: { executor: 'ramping-vus', startVUs: 1, stages: [{ duration: '0s', target: 3 }, { duration: '1s', target: 3 }, { duration: '200ms', target: 0 }], gracefulRampDown: '1s' },
  },
};

export default function () { http.get(`${__ENV.URL}/${__VU}/${exec.scenario.executor}`); sleep(0.1); }
