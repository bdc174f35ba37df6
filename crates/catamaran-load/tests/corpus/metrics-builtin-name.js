// A name that k6 has itself.
import { Counter } from 'k6/metrics';

const same = new Counter('http_reqs');

export default function () { same.add(2); }
