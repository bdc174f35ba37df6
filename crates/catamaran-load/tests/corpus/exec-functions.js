// Functions of scenarios, and their tags.
// unordered
import http from 'k6/http';
import exec from 'k6/execution';

export const options = {
  scenarios: {
    one: { executor: 'shared-iterations', exec: 'first', tags: { kind: 'x' } },
    'two-b': { executor: 'per-vu-iterations', vus: 2, exec: 'second', startTime: '200ms', env: { E: 'e' } },
  },
  thresholds: { 'http_reqs{scenario:one}': ['count==1'], 'http_reqs{kind:x}': ['count==1'] },
};

export function first() { http.get(`${__ENV.URL}/first/${exec.scenario.name}/${__ENV.E}`); }
export const second = () => { http.get(`${__ENV.URL}/second/${exec.scenario.name}/${__ENV.E}`); };
