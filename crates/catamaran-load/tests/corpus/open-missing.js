// A file that is not there.
open('./lib/nothing.txt');

export default function () {}
