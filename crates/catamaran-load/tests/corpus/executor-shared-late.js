// Shared iterations that the time does not suffice for.
import { sleep } from 'k6';

export const options = { scenarios: { a: { executor: 'shared-iterations', vus: 2, iterations: 100, maxDuration: '1s', gracefulStop: '100ms' } } };

export default function () { sleep(30); }
