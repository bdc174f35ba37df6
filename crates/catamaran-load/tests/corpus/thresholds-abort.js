// A threshold that ends the run.
// loose
import { sleep } from 'k6';
import { Rate } from 'k6/metrics';

const rate = new Rate('rr');
export const options = {
  scenarios: { a: { executor: 'constant-vus', vus: 1, duration: '30s', gracefulStop: '0s' } },
  thresholds: { rr: [{ threshold: 'rate>0.9', abortOnFail: true }] },
};

export default function () { rate.add(false); sleep(0.1); }
