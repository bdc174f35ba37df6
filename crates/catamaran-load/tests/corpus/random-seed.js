// The same seed gives the same numbers.
import { randomSeed } from 'k6';
import { tell } from './lib/tell.js';

export default function () {
  randomSeed(5);
  const first = [Math.random(), Math.random()];
  randomSeed(5);
  tell({ same: JSON.stringify(first) === JSON.stringify([Math.random(), Math.random()]), differ: first[0] !== first[1] });
}
