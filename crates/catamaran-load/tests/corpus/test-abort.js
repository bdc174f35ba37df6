// The script ends the run.
import exec from 'k6/execution';
import { tell } from './lib/tell.js';

export const options = { iterations: 5 };

export default function () {
  tell({ before: __ITER });
  if (__ITER === 2) exec.test.abort('enough');
  tell({ after: __ITER });
}

export function teardown() { tell({ torn: true }); }
