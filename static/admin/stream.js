// What happens, as it happens. The browser comes back by itself after a drop, but not after a refusal.

import { addressOf } from "./api.js";
import { element, setText } from "./element.js";

const EVENTS = ["started", "renewed", "warned", "ended", "connected", "disconnected"];
const LONGEST_PAUSE = 30_000; // milliseconds
const WORDS = {
  connecting: "Connecting",
  open: "Live",
  paused: "Paused",
  out: "Not logged in",
  away: "Not connected, trying again",
};

export class Stream {
  #source = null;
  #failures = 0;
  #timer = 0;

  /**
   * `happened` gets (what, data) for each event; `opened` is called when they come: what was before may be missed.
   * `mayOpen` is asked after a refusal, and tells whether to try again.
   */
  constructor({ happened, opened, mayOpen }) {
    Object.assign(this, { happened, opened, mayOpen });
  }

  open() {
    this.close("connecting");
    const source = this.#source = new EventSource(addressOf("events"));
    source.addEventListener("hello", () => this.#greeted());
    for (const what of EVENTS) source.addEventListener(what, ({ data }) => this.happened(what, JSON.parse(data)));
    source.onerror = () => this.#failed();
  }

  /** Be told nothing until `open`; `why` is "paused" or "out". */
  close(why) {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#show(why);
  }

  #greeted() {
    this.#failures = 0;
    this.#show("open");
    this.opened();
  }

  #failed() {
    this.#show("away");
    if (this.#source.readyState !== EventSource.CLOSED) return;
    const pause = Math.min(LONGEST_PAUSE, 1000 * 2 ** this.#failures++);
    this.#timer = setTimeout(() => this.#again(), pause * (0.5 + Math.random() / 2));
  }

  /** Why it was refused, an `EventSource` does not tell. */
  async #again() {
    if (await this.mayOpen()) this.open();
  }

  #show(state) {
    element("stream").dataset.state = state;
    setText(element("stream"), WORDS[state]);
  }
}
