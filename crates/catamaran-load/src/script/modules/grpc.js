// The module `k6/net/grpc`.
import { bytes } from "catamaran:bytes";
import { flat, host } from "catamaran:host";
import { begin } from "catamaran:later";

function check(what, params, known) {
  for (const key of Object.keys(params ?? {})) {
    if (!known.includes(key)) {
      throw new Error(`${what}: no parameter is called "${key}"; there are ${known.join(", ")}`);
    }
  }
}

const millis = (time, usual) => (time === undefined || time === null ? usual
  : typeof time === "string" ? host.millis(time) : Number(time));

function metadata(fields) {
  return Object.entries(fields ?? {}).flatMap(([name, value]) => {
    if (typeof value !== "string" && !(value instanceof ArrayBuffer) && !ArrayBuffer.isView(value)) {
      throw new TypeError(`metadata: the value of "${name}" must be a string or bytes`);
    }
    return [name, bytes(value)];
  });
}

function options(url, message, params, known) {
  check("grpc", params, known);
  const path = String(url);
  if (message === null || message === undefined) {
    message = {};
  }
  if (typeof message !== "object") {
    throw new TypeError("the message must be an object");
  }
  return {
    path: path.startsWith("/") ? path : `/${path}`, message: JSON.stringify(message), tags: flat(params?.tags),
    metadata: metadata(params?.metadata), timeout: millis(params?.timeout), discards: Boolean(params?.discardResponseMessage),
  };
}

const CONNECT = ["plaintext", "reflect", "reflectMetadata", "timeout", "tls", "maxReceiveSize", "maxSendSize", "authority"];
const INVOKE = ["metadata", "tags", "timeout", "discardResponseMessage"];

export class Client {
  #number = host.grpcClient();
  static number(client) {
    if (!(client instanceof Client)) {
      throw new TypeError("the first argument of a Stream must be a Client");
    }
    return client.#number;
  }

  load(directories, ...files) {
    return JSON.parse(host.grpcLoad(this.#number, (directories ?? []).map(String), files.map(String)));
  }
  loadProtoset(path) { return JSON.parse(host.grpcLoadSet(this.#number, String(path))); }
  connect(address, params = {}) {
    check("connect", params, CONNECT);
    if (params?.tls) {
      throw new Error('connect: the parameter "tls" is not supported yet; certificates are verified against those ' +
        "of the system and of SSL_CERT_FILE, or not at all with the option insecureSkipTLSVerify");
    }
    this.close();
    host.grpcConnect(this.#number, String(address), {
      plaintext: Boolean(params?.plaintext), reflect: Boolean(params?.reflect),
      metadata: metadata(params?.reflectMetadata), timeout: millis(params?.timeout, 60000),
      maxReceiveSize: Number(params?.maxReceiveSize || 4 * 1024 * 1024),
      maxSendSize: Number(params?.maxSendSize || 2147483647), authority: params?.authority,
    });
    return true;
  }
  invoke(url, message, params) {
    return JSON.parse(host.grpcInvoke(this.#number, options(url, message, params, INVOKE)));
  }
  asyncInvoke(url, message, params) {
    return new Promise((resolve) => {
      const call = options(url, message, params, INVOKE);
      begin((number) => host.startGrpcInvoke(number, this.#number, call), (text) => resolve(JSON.parse(text)));
    });
  }
  healthCheck(service = "", params) {
    return this.invoke("/grpc.health.v1.Health/Check", { service }, params);
  }
  close() { host.grpcClose(this.#number); }
}

const EVENTS = ["data", "error", "end"];

export class Stream {
  #number;
  #handlers = {};
  #isEnded = false;
  constructor(client, url, params) {
    this.#number = host.grpcStream(Client.number(client), options(url, {}, params, INVOKE));
    this.#next();
  }
  on(event, handler) {
    if (!EVENTS.includes(event)) {
      host.log("warning", `no event of streams is called "${event}"; there are ${EVENTS.join(", ")}`);
      return;
    }
    (this.#handlers[event] ??= []).push(handler);
  }
  write(message) {
    if (!this.#isEnded) {
      host.grpcStreamWrite(this.#number, JSON.stringify(message ?? {}));
    }
  }
  end() {
    if (!this.#isEnded) {
      this.#isEnded = true;
      host.grpcStreamWrite(this.#number, undefined);
    }
  }
  #next() {
    begin((number) => host.startGrpcStreamNext(number, this.#number), (text) => this.#take(...JSON.parse(text)));
  }
  #take(event, value) {
    if (event === "end") {
      this.#isEnded = true;
      host.grpcStreamEnd(this.#number);
    } else {
      this.#next();
    }
    for (const handler of this.#handlers[event] ?? []) {
      handler(value);
    }
  }
}

const codes = [
  "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
  "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
  "DataLoss", "Unauthenticated",
];
const statuses = Object.fromEntries(codes.map((name, code) => [`Status${name}`, code]));
export const {
  StatusOK, StatusCanceled, StatusUnknown, StatusInvalidArgument, StatusDeadlineExceeded, StatusNotFound,
  StatusAlreadyExists, StatusPermissionDenied, StatusResourceExhausted, StatusFailedPrecondition, StatusAborted,
  StatusOutOfRange, StatusUnimplemented, StatusInternal, StatusUnavailable, StatusDataLoss, StatusUnauthenticated,
} = statuses;
const HEALTH = {
  HealthCheckServing: "SERVING", HealthCheckNotServing: "NOT_SERVING", HealthCheckUnknown: "UNKNOWN",
  HealthCheckServiceUnknown: "SERVICE_UNKNOWN",
};
export const { HealthCheckServing, HealthCheckNotServing, HealthCheckUnknown, HealthCheckServiceUnknown } = HEALTH;

export default { Client, Stream, ...statuses, ...HEALTH };
