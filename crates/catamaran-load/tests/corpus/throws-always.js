// Iterations that throw: they count.
export const options = { iterations: 3 };

export default function () { throw new TypeError('each time'); }
