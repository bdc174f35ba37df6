// All times of the summary in one unit.
import { Trend, Counter } from 'k6/metrics';

export const options = {
  summaryTimeUnit: 's',
  thresholds: { mine: ['p(95)<1'] },
};
const mine = new Trend('mine', true);
const other = new Trend('other');

export default function () {
  mine.add(1234.5678);
  mine.add(0.004);
  other.add(1.5);
}
