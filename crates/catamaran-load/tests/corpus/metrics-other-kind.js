// The same name twice, of two kinds.
import { Counter, Trend } from 'k6/metrics';

new Counter('same');
new Trend('same');

export default function () {}
