// The calls of administration.

/** A call that failed; `message` is for people, `status` is 0 where no answer came. */
class Problem extends Error {
  constructor(status, message, ended = 0) {
    super(message);
    this.status = status;
    this.ended = ended; // sessions that an end of many had ended when it failed
  }
}

const SAID = {
  401: "You are not logged in any more. Load the page again.",
  404: "There is no such thing here any more.",
  503: "The store is away. What needs it works again when it is back.",
};

/**
 * Return the address of a call: beside the page, wherever that is.
 *
 * The page's own may have user and password in it. With them `fetch` refuses, and an `EventSource` would go on sending
 * them when the browser knows better ones.
 */
export const addressOf = (path) => new URL(`api/${path}`, location.origin + location.pathname);

/** Call, and return what came: JSON, or the status where there is no body. Empty parameters are left out. */
export async function call(method, path, { query = {}, body, signal } = {}) {
  const response = await fetch(addressOf(`${path}${inQuery(query)}`), {
    method,
    signal,
    cache: "no-store",
    credentials: "same-origin",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  }).catch((error) => {
    throw error.name === "AbortError" ? error : new Problem(0, "The server does not answer.");
  });
  if (!response.ok) throw await problemOf(response);
  return response.headers.get("Content-Type")?.startsWith("application/json") ? response.json() : response.status;
}

function inQuery(query) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function problemOf(response) {
  const { detail, ended } = await response.json().catch(() => ({}));
  return new Problem(response.status, wordsOf(response, detail), ended);
}

function wordsOf(response, detail) {
  const wait = response.headers.get("Retry-After");
  if (response.status === 429 && wait) return `${detail ?? "Too much at once"}. Try again in ${wait} s.`;
  if (response.status !== 404 && detail && !SAID[response.status]) return capitalized(detail);
  return SAID[response.status] ?? `The server answered ${response.status}.`;
}

const capitalized = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;
