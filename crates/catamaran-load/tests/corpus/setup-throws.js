// setup that throws.
import { tell } from './lib/tell.js';

export function setup() { throw new Error('no'); }

export default function () { tell({ never: 1 }); }

export function teardown() { tell({ torn: 1 }); }
