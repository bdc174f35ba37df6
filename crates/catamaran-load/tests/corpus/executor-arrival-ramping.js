// Iterations at a rate that moves.
// unordered
import http from 'k6/http';
import exec from 'k6/execution';

export const options = {
  scenarios: { a: { executor: 'ramping-arrival-rate', startRate: 0, stages: [{ duration: '1s', target: 20 }, { duration: '520ms', target: 20 }], preAllocatedVUs: 20 } },
};

export default function () { http.get(`${__ENV.URL}/${exec.scenario.executor}`); }
