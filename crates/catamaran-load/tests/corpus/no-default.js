// A script without the function that is run.
export function other() {}
