// Thresholds of each kind that hold. Beside != k6 prints no figure.
// differs max!=5
import http from 'k6/http';
import { check } from 'k6';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';

const counter = new Counter('cc'), gauge = new Gauge('gg'), rate = new Rate('rr'), trend = new Trend('tt');

export const options = {
  iterations: 4,
  thresholds: {
    cc: ['count==10', 'rate>0'], gg: ['value<=3', 'value>=3'], rr: ['rate>0.4', 'rate<0.6'], checks: ['rate==1'],
    tt: ['avg==2.5', 'min==1', 'max<5', 'med===2.5', 'p(0)==1', 'p(100)==4', 'p(50)==2.5', 'p(90) > 3', 'max!=5'],
    'cc{kind:a}': ['count==5'], 'cc{kind:nothing}': ['count==0'], http_reqs: ['count == 4'], 'http_req_duration{name:none}': ['p(99)<1'],
    iterations: [{ threshold: 'count>=4' }], 'http_req_duration{status:200,method:"GET"}': ['max<60000'],
    'empty{}': [],
  },
};
delete options.thresholds['empty{}'];

export default function () {
  http.get(`${__ENV.URL}/hello`);
  counter.add(__ITER % 2 === 0 ? 3 : 2, { kind: __ITER < 2 ? 'a' : 'b' });
  gauge.add(3);
  rate.add(__ITER % 2);
  trend.add(__ITER + 1);
  check(1, { ok: true });
}
