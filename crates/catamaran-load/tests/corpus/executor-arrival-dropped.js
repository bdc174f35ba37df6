// Iterations at a rate, and nobody to run them.
// unordered
import { sleep } from 'k6';

export const options = { scenarios: { a: { executor: 'constant-arrival-rate', rate: 10, duration: '1050ms', preAllocatedVUs: 2 } } };

export default function () { sleep(2.5); }
