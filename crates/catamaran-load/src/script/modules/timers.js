// The module `k6/timers`.
import { setTimeout, clearTimeout, setInterval, clearInterval } from "catamaran:later";

export { setTimeout, clearTimeout, setInterval, clearInterval };
export default { setTimeout, clearTimeout, setInterval, clearInterval };
