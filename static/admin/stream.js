// What happens, as it happens. The browser comes back by itself after a drop, but not after an answer that is no stream.

import { element, setText } from "./element.js";

const EVENTS = ["started", "renewed", "warned", "ended", "connected", "disconnected"];
const LONGEST_PAUSE = 30_000; // milliseconds
const WORDS = { connecting: "Connecting", open: "Live", paused: "Paused", out: "Not logged in", away: "Not connected, trying again" };

export class Stream {
  #source = null;
  #failures = 0;
  #timer = 0;
  #listeners = { happened: [], open: [] };

  /** `happened` gets (what, data) for each event; `open` gets the node's name: what was before may have been missed. */
  on(name, listener) {
    this.#listeners[name].push(listener);
  }

  open() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#show("connecting");
    const source = this.#source = new EventSource("api/events");
    source.addEventListener("hello", ({ data }) => this.#greeted(JSON.parse(data).node));
    for (const what of EVENTS) source.addEventListener(what, ({ data }) => this.#tell("happened", what, JSON.parse(data)));
    source.onerror = () => this.#failed();
  }

  /** Be told nothing until `open`; `why` is "paused" or "out". */
  close(why) {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#show(why);
  }

  #greeted(node) {
    this.#failures = 0;
    this.#show("open");
    this.#tell("open", node);
  }

  #failed() {
    this.#show("away");
    if (this.#source.readyState !== EventSource.CLOSED) return;
    const pause = Math.min(LONGEST_PAUSE, 1000 * 2 ** this.#failures++);
    this.#timer = setTimeout(() => this.open(), pause * (0.5 + Math.random() / 2));
  }

  #tell(name, ...facts) {
    for (const listener of this.#listeners[name]) listener(...facts);
  }

  #show(state) {
    element("stream").dataset.state = state;
    setText(element("stream"), WORDS[state]);
  }
}
