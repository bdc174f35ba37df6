// Iterations that take a while at least.
import { tell } from './lib/tell.js';

export const options = { iterations: 2, minIterationDuration: '300ms' };
let last = 0;

export default function () {
  if (last > 0) tell({ late: Date.now() - last >= 290 });
  last = Date.now();
}
