// A module with every kind of export.
import { inner } from './deep/inner.js';

export let count = 0;
export const add = () => { count += 1; return count; };
export default class Thing { name() { return `thing ${inner}`; } }
export { inner as renamed };
export * from './deep/more.js';
