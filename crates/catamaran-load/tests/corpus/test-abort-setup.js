// The script ends the run in setup.
import exec from 'k6/execution';
import { tell } from './lib/tell.js';

export function setup() { exec.test.abort('in setup'); }

export default function () { tell({ never: 1 }); }

export function teardown() { tell({ torn: true }); }
