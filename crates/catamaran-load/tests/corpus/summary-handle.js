// What handleSummary is given.
import http from 'k6/http';
import { check, group } from 'k6';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

const counter = new Counter('counter'), gauge = new Gauge('gauge'), rate = new Rate('rate'), trend = new Trend('trend', true);
export const options = { iterations: 2, thresholds: { counter: ['count==2', 'count>5'], 'http_reqs{kind:k}': ['count>=0'] }, summaryTrendStats: ['avg', 'p(99)', 'count'] };

export function setup() { return { made: 'here' }; }

export default function () {
  http.get(`${__ENV.URL}/hello`);
  group('one', () => { group('two', () => check(1, { fine: true, bad: __ITER === 0 })); });
  check(1, { top: true });
  counter.add(1); gauge.add(2); rate.add(__ITER); trend.add(3);
}

export function handleSummary(given) {
  const data = JSON.parse(JSON.stringify(given));
  // Times are replaced, the rest is as it is; keys are put in order.
  const times = (name) => /^(http_req_(?!failed)|iteration_duration|group_duration|data_|vus)/.test(name);
  for (const name of Object.keys(data.metrics)) {
    const { values } = data.metrics[name];
    if (/^vus/.test(name)) { delete data.metrics[name]; continue; }
    for (const key of Object.keys(values)) if (times(name) || (key === 'rate' && 'count' in values)) values[key] = typeof values[key];
  }
  data.state.testRunDurationMs = typeof data.state.testRunDurationMs;
  const sorted = (value) => (typeof value === 'number' ? String(value) : value === null || typeof value !== 'object' ? value : Array.isArray(value) ? value.map(sorted)
    : Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])])));
  return { stdout: `${JSON.stringify(sorted(data), null, 1).replace(/^ +/gm, '')}\n` };
}
