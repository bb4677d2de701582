// Numbers, times and codes in words.

import { now } from "./clock.js";

const ENDED = {
  logout: "logged out",
  idle: "idle for too long",
  absolute: "reached its greatest age",
  replaced: "another took its place",
  limit: "there were too many",
  admin: "ended by an administrator",
  credentials: "user or password changed",
  shutdown: "the server stopped",
};

const CLOSED = {
  1000: "closed",
  1001: "left",
  1002: "protocol error",
  1003: "wrong kind of message",
  1005: "closed without a code",
  1006: "vanished",
  1007: "text that is not UTF-8",
  1008: "not allowed any more",
  1009: "too large a message",
  1011: "internal error, or no answer to a ping",
  1013: "too slow, or too busy",
  4000: "session renewed, comes back",
  4001: "session ended: logged out",
  4002: "session ended: idle",
  4003: "session ended: greatest age",
  4004: "session ended: replaced",
  4005: "session ended: too many",
  4006: "session ended by an administrator",
  4007: "session ended: user or password changed",
  4008: "closed by an administrator",
};

const HAPPENED = {
  started: "started",
  renewed: "renewed",
  warned: "warned",
  ended: "ended",
  connected: "WebSocket opened",
  disconnected: "WebSocket closed",
};

export const reasonInWords = (reason) => ENDED[reason] ?? reason;
export const codeInWords = (code) => (CLOSED[code] ? `${CLOSED[code]} (${code})` : `code ${code}`);
export const happeningInWords = (what) => HAPPENED[what] ?? what;

/** A name in a sentence: what it does to the direction of writing ends with it, as in a `bdi`, and it cannot end that. */
export const named = (name) => (
  /[^\0-\u058f]/.test(name) ? `\u2068${name.replaceAll(/[\u2066-\u2069]/g, "")}\u2069` : name
);

/** A short form of a ref, where its length would be in the way; there are 2⁴⁸ of them. */
export const shortRef = (ref) => ref.slice(0, 12);

const WHOLE = new Intl.NumberFormat("en");
const ROUNDED = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

export const count = (number) => (number === null ? "–" : WHOLE.format(number));
const rounded = (number) => (number === null ? "–" : ROUNDED.format(number));

/** `counted(2, "session")` is "2 sessions". */
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

export function bytes(size) {
  if (size < 1000) return counted(size, "byte");
  return size < 1e6 ? `${rounded(size / 1000)} kB` : `${rounded(size / 1e6)} MB`;
}

/** A length of time, two units at most; `null` is without an end. */
export function seconds(length) {
  if (length === null) return "never";
  const whole = Math.max(0, Math.round(length));
  const parts = [
    [Math.floor(whole / 86400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([number]) => number > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([number]) => number > 0).map((part) => part.join(" ")).join(" ");
}

/** How long something took; `null` where nothing was measured. */
export function duration(length) {
  if (length === null) return "–";
  return length < 1 ? `${rounded(length * 1000)} ms` : `${rounded(length)} s`;
}

export const ago = (at) => `${seconds(now() - at)} ago`;
export const timeOfDay = (at) => new Date(at * 1000).toLocaleTimeString();
export const date = (at) => new Date(at * 1000).toLocaleString();
