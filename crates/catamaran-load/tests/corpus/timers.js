// Timers, and what an iteration waits for.
import { clearTimeout, setInterval, setTimeout } from 'k6/timers';
import { tell } from './lib/tell.js';

export const options = { iterations: 2 };

export default function () {
  const order = ['start'];
  setTimeout((...values) => order.push(['late', ...values]), 190, 'a', 1);
  setTimeout(() => order.push('soon'), 10);
  clearTimeout(setTimeout(() => order.push('never'), 5));
  let ticks = 0;
  const interval = setInterval(() => { order.push('tick'); if (++ticks === 2) clearInterval(interval); }, 25);
  setTimeout(() => tell({ order }), 500);
  Promise.resolve().then(() => order.push('job'));
  order.push('end');
}
