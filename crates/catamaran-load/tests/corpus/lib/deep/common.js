module.exports = { inner: 'old' };
