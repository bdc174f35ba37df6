// A module that is not there.
import { x } from './lib/nowhere.js';

export default function () { x(); }
