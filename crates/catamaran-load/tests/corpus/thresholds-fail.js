// Thresholds that do not hold.
import { Counter, Trend } from 'k6/metrics';

const counter = new Counter('cc'), trend = new Trend('tt');

export const options = {
  iterations: 2,
  thresholds: { cc: ['count>5', 'count<5'], tt: [{ threshold: 'avg<1', abortOnFail: false }, 'p(95)<100'], 'cc{a:b}': ['count>0'] },
};

export default function () { counter.add(1); trend.add(5); }
