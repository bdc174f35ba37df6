// Numbers among the options as text, which is how they come from the environment; an empty one says nothing.
import { tell } from './lib/tell.js';
import exec from 'k6/execution';

export const options = {
  rps: '1000',
  batch: '',
  scenarios: {
    a: { executor: 'shared-iterations', vus: '2', iterations: '3' },
    b: { executor: 'per-vu-iterations', vus: '', iterations: '2' },
  },
};

export function setup() {
  const { rps, batch } = exec.test.options;
  tell({ rps, batch });
}

export default function () {}
