// setup that returns a text, and is left out by the environment.
// env K6_NO_SETUP=true
// env K6_NO_TEARDOWN=true
import { tell } from './lib/tell.js';

export function setup() { return 'text'; }

export default function (data) { tell({ data }); }

export function teardown(data) { tell({ data }); }
