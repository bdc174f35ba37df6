// Scenarios one after the other.
import http from 'k6/http';

export const options = {
  scenarios: { late: { executor: 'shared-iterations', startTime: '500ms', env: { N: 'late' } }, soon: { executor: 'shared-iterations', env: { N: 'soon' } } },
};

export default function () { http.get(`${__ENV.URL}/${__ENV.N}`); }
