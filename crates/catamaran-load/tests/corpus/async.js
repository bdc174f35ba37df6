// Functions that wait.
import { tell } from './lib/tell.js';

export const options = { iterations: 2 };

export async function setup() { return await Promise.resolve({ from: 'setup' }); }

export default async function (data) {
  const value = await new Promise((resolve) => setTimeout(() => resolve('later'), 5));
  tell({ data, value });
  if (__ITER === 1) throw new Error('rejected');
}

export async function teardown(data) { tell({ teardown: data }); }
