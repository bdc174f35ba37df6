// The same name twice, of one kind.
import { Counter } from 'k6/metrics';
import { tell } from './lib/tell.js';

const one = new Counter('same'), two = new Counter('same');

export default function () { one.add(1); two.add(1); tell({ done: 1 }); }
