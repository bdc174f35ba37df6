// The whole summary. Its parts for scenarios and groups are not there.
// without text
// env K6_SUMMARY_MODE=full
import http from 'k6/http';
import { check, group } from 'k6';
import { Trend } from 'k6/metrics';

const trend = new Trend('own_trend');
export const options = { scenarios: { one: { executor: 'shared-iterations' }, two: { executor: 'shared-iterations', startTime: '300ms' } } };

export default function () {
  http.get(`${__ENV.URL}/hello`);
  check(1, { 'at the top': true });
  group('first', () => { http.get(`${__ENV.URL}/first`); check(1, { 'in first': false }); trend.add(1); group('within', () => check(1, { deep: true })); });
}
