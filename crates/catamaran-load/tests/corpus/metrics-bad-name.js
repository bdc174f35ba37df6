// A name that is none.
import { Counter } from 'k6/metrics';

new Counter('with space');

export default function () {}
