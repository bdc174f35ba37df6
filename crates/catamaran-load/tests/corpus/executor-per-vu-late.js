// Iterations of each virtual user that the time does not suffice for.
import { sleep } from 'k6';

export const options = { scenarios: { a: { executor: 'per-vu-iterations', vus: 2, iterations: 5, maxDuration: '1s', gracefulStop: '5s' } } };

export default function () { sleep(1.5); }
