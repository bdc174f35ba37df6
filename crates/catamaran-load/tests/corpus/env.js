// Variables of the environment.
// env MINE=from outside
import { tell } from './lib/tell.js';

export const options = { scenarios: { a: { executor: 'shared-iterations', env: { OWN: 'o', MINE: 'changed' } } } };
const early = __ENV.MINE;

export default function () { tell({ mine: __ENV.MINE, own: __ENV.OWN, none: __ENV.NONE, early }); }
