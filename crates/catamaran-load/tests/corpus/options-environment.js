// The environment outdoes the script.
// unordered
// env K6_VUS=2
// env K6_ITERATIONS=4
// env K6_USER_AGENT=environment
// env K6_TAGS=own:tag,other:t
import http from 'k6/http';
import exec from 'k6/execution';

export const options = { duration: '1h', userAgent: 'script', tags: { script: 's' } };

export default function () { http.get(`${__ENV.URL}/${exec.scenario.executor}/${typeof __ENV.K6_VUS}`); }
