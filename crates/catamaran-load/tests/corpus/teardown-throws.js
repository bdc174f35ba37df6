// teardown that throws.
// without text
export default function () {}

export function teardown() { throw new Error('no'); }
