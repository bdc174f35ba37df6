// A script that waits at its top level.
import { tell } from './lib/tell.js';

const value = await Promise.resolve(5);

export default function () { tell({ value }); }
