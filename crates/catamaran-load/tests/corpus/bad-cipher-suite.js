// A cipher suite that there is none of.
export const options = { tlsCipherSuites: ['TLS_WITH_NOTHING'] };

export default function () {}
