// Modules of the old kind.
const { answer, inner, more } = require('./lib/common.js');
const http = require('k6/http');
const { tell } = require('./lib/tell.js');

exports.options = { iterations: 2 };

exports.default = function () { tell({ answer, inner, more, get: typeof http.get }); };
