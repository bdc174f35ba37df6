// Plain JavaScript of newer years.
import { tell, tried } from './lib/tell.js';

class Box { #value; static made = 0; constructor(value) { this.#value = value; Box.made += 1; } get value() { return this.#value; } static { this.ready = true; } }
function* count(to) { for (let i = 0; i < to; i++) yield i; }

export default function () {
  const { a, ...rest } = { a: 1, b: 2, c: 3 };
  const map = new Map([['k', 1]]), set = new Set([1, 1, 2]);
  tell({
    box: [new Box(5).value, Box.made, Box.ready], rest, spread: [...count(3)], optional: rest?.d?.e ?? 'none', map: map.get('k'), set: set.size,
    template: `${a}-${[1, 2]}`, big: String(2n ** 64n), regexp: 'a1b22'.match(/\d+/g), named: /(?<year>\d{4})/.exec('in 2026').groups.year, flat: [1, [2, [3]]].flat(Infinity),
    at: [1, 2, 3].at(-1), entries: Object.fromEntries([['x', 1]]), pad: 'x'.padStart(3, '-'), all: 'a-b-c'.replaceAll('-', '+'), date: new Date(0).toISOString(),
    json: JSON.stringify({ u: undefined, f() {}, d: new Date(0), n: NaN }), parse: JSON.parse('{"a":[1,{"b":null}]}'), sort: [3, 1, 2].sort(), number: (1234.5678).toFixed(2),
    locale: typeof (1234.5).toLocaleString(), error: tried(() => { throw new RangeError('no'); }), symbol: typeof Symbol.iterator, label: (() => { outer: for (;;) { for (;;) break outer; } return 'out'; })(),
    encode: encodeURIComponent('ä b&c'), decode: decodeURIComponent('%C3%A4'), escape: typeof escape, parseInt: parseInt('12px', 10), exp: 1e21.toString(), negative: (-0).toString(),
  });
}
