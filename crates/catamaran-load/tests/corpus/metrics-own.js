// Metrics of the script's own, with tags, and what they amount to.
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
import { tell, tried } from './lib/tell.js';

const counter = new Counter('my_counter'), gauge = new Gauge('my_gauge'), rate = new Rate('my_rate'), trend = new Trend('my_trend');
const time = new Trend('my_time', true), bytes = new Counter('unused');

export const options = { iterations: 2 };

export default function () {
  counter.add(1);
  counter.add(2.5, { kind: 'a' });
  gauge.add(7); gauge.add(3); gauge.add(5);
  rate.add(true); rate.add(false); rate.add(1); rate.add(0); rate.add(3);
  for (const value of [5, 1, 4, 2, 3]) trend.add(value, { odd: value % 2 });
  time.add(1500); time.add(0.25);
  tell({
    name: counter.name, returned: counter.add(0), text: tried(() => counter.add('5')), none: tried(() => trend.add()), bad: tried(() => trend.add('x')),
    truth: tried(() => trend.add(true)), negative: tried(() => counter.add(-1)), late: tried(() => new Counter('late')), null: tried(() => gauge.add(null)),
  });
}
