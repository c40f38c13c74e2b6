/**
 * The bytes and names of the protocol onlooker.v1 that the page uses.  Pure: no DOM.
 */

export const PROTOCOL = "onlooker.v1";
export const HEADER_BYTES = 24;
export const DISCONTINUITY = 2;

const VERSION = 1;
const KIND_IMAGE = 1;

/**
 * Put the binary header before an image's bytes.
 * @param {number} sequence
 * @param {number} capturedUs wall clock of the capture, µs since 1970
 * @param {number} flags
 * @param {ArrayBuffer} image JPEG bytes
 */
export function frameMessage(sequence, capturedUs, flags, image) {
  const message = new Uint8Array(HEADER_BYTES + image.byteLength);
  const view = new DataView(message.buffer);
  view.setUint8(0, VERSION);
  view.setUint8(1, KIND_IMAGE);
  view.setUint16(2, 0, true);
  view.setUint32(4, sequence >>> 0, true);
  view.setBigInt64(8, BigInt(Math.round(capturedUs)), true);
  view.setUint32(16, flags, true);
  view.setUint32(20, 0, true);
  message.set(new Uint8Array(image), HEADER_BYTES);
  return message.buffer;
}

/** Give the socket's address beside a page's. @param {{protocol: string, host: string}} location */
export function socketAddress(location) {
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/v1/realtime`;
}

/** Give the subprotocols that carry the token, which no browser can send as a header. @param {string} token */
export function subprotocols(token) {
  return [PROTOCOL, `onlooker.token.${token}`];
}

/** Say whether a text can be a token inside a subprotocol (RFC 9110 token characters). @param {string} token */
export function isToken(token) {
  return /^[A-Za-z0-9!#$%&'*+\-.^_`|~]{1,256}$/.test(token);
}

let made = 0;

/** Make an event_id that no other of this page has. @param {string} what */
export function eventId(what) {
  made += 1;
  return `${what}-${Date.now().toString(36)}-${made}`;
}
