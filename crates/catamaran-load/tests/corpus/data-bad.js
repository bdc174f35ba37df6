// An array that is none.
import { SharedArray } from 'k6/data';

new SharedArray('data', () => ({ not: 'a list' }));

export default function () {}
