//! Names that tell whether virtual users may share an engine (`sharing.rs`).

/// Modules of k6 of which one serves many.
pub(super) const SHARED_MODULES: &[&str] = &[
    "k6",
    "k6/crypto",
    "k6/data",
    "k6/encoding",
    "k6/execution",
    "k6/html",
    "k6/http",
    "k6/metrics",
];

/// Names of what belongs to the engine as a whole, or leads to it.
pub(super) const FORBIDDEN: &[&str] = &[
    "Atomics",
    "FinalizationRegistry",
    "Function",
    "Promise",
    "Reflect",
    "SharedArrayBuffer",
    "WeakRef",
    "clearInterval",
    "clearTimeout",
    "eval",
    "global",
    "globalThis",
    "queueMicrotask",
    "self",
    "setInterval",
    "setTimeout",
    "window",
];

/// Names of properties that lead to what is shared, or that change it.
pub(super) const PROPERTIES: &[&str] = &[
    "__defineGetter__",
    "__defineSetter__",
    "__proto__",
    "asyncRequest",
    "constructor",
    "defineProperties",
    "defineProperty",
    "getPrototypeOf",
    "metadata",
    "prepareStackTrace",
    "randomSeed",
    "setPrototypeOf",
    "setResponseCallback",
    "stackTraceLimit",
];

/// Names of objects that are there once.
pub(super) const GLOBALS: &[&str] = &[
    "AggregateError",
    "Array",
    "ArrayBuffer",
    "BigInt",
    "Boolean",
    "DataView",
    "Date",
    "Error",
    "EvalError",
    "Iterator",
    "JSON",
    "Map",
    "Math",
    "Number",
    "Object",
    "Proxy",
    "RangeError",
    "ReferenceError",
    "RegExp",
    "Set",
    "String",
    "Symbol",
    "SyntaxError",
    "TextDecoder",
    "TextEncoder",
    "TypeError",
    "URIError",
    "WeakMap",
    "WeakSet",
    "__ENV",
    "__ITER",
    "__VU",
    "console",
    "crypto",
];

/// Classes of which an object can be given any property of its own.
pub(super) const BASES: &[&str] = &[
    "AggregateError",
    "Error",
    "EvalError",
    "Object",
    "RangeError",
    "ReferenceError",
    "SyntaxError",
    "TypeError",
    "URIError",
];

/// Classes whose methods cannot be replaced in an object of theirs. Those that scripts hand on to convert
/// what a list has, such as `Number`, have no objects that anybody changes.
pub(super) const CLASSES: &[&str] = &[
    "Array",
    "ArrayBuffer",
    "BigInt64Array",
    "BigUint64Array",
    "DataView",
    "Date",
    "Float32Array",
    "Float64Array",
    "Int16Array",
    "Int32Array",
    "Int8Array",
    "Iterator",
    "Map",
    "RegExp",
    "Set",
    "Uint16Array",
    "Uint32Array",
    "Uint8Array",
    "Uint8ClampedArray",
    "WeakMap",
    "WeakSet",
];

/// Those of them that are numbers.
pub(super) const NUMBERS: &[&str] = &["__ITER", "__VU"];
