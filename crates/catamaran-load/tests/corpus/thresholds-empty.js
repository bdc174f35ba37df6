// Thresholds of metrics without samples: they are judged at the end, as if there were zeros.
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

new Counter('counter'); new Gauge('gauge'); new Rate('rate'); new Trend('trend');
export const options = {
  thresholds: {
    counter: ['count>0', 'count<1'], gauge: ['value>0', 'value<1'], rate: ['rate>0.5', 'rate<0.5'], trend: ['avg>1', 'max<1', 'p(95)<1'],
    checks: ['rate>0.9'], 'counter{a:b}': ['count==0', 'rate>1'], http_req_failed: ['rate<0.1'], http_req_duration: ['p(99)<1'],
  },
};

export default function () {}
