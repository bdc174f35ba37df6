// A module of the old kind.
const { inner } = require('./deep/common.js');
exports.answer = 42;
exports.inner = inner;
module.exports.more = typeof module.exports;
