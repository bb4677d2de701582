// The calls of administration. Their addresses are relative to the page, wherever it is.

/** A call that failed; `message` is for people, `status` is 0 where no answer came. */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const SAID = {
  401: "You are not logged in any more. Load the page again.",
  404: "There is no such thing here any more.",
  503: "The store is away. What needs it works again when it is back.",
};

/** Call, and return what came: JSON, or the status where there is no body. Empty parameters are left out. */
export async function call(method, path, { query = {}, body, signal } = {}) {
  const response = await fetch(`api/${path}${inQuery(query)}`, {
    method,
    signal,
    cache: "no-store",
    credentials: "same-origin",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  }).catch((error) => {
    throw error.name === "AbortError" ? error : new Problem(0, "The server does not answer.");
  });
  if (!response.ok) throw new Problem(response.status, await wordsOf(response));
  return response.headers.get("Content-Type")?.startsWith("application/json") ? response.json() : response.status;
}

function inQuery(query) {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function wordsOf(response) {
  const { detail } = await response.json().catch(() => ({}));
  const wait = response.headers.get("Retry-After");
  if (response.status === 429 && wait) return `${detail ?? "Too much at once"}. Try again in ${wait} s.`;
  if (response.status !== 404 && detail && !SAID[response.status]) return capitalized(detail);
  return SAID[response.status] ?? `The server answered ${response.status}.`;
}

const capitalized = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;
