// The script calls the run failed, and goes on.
import exec from 'k6/execution';
import { tell } from './lib/tell.js';

export const options = { iterations: 2 };

export default function () { exec.test.fail('not good'); tell({ on: __ITER }); }
