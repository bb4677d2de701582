// What lies between this page and the server, made worse on purpose: to see what the client does about it.

/** A network with what `connect` of wshttp.js takes as `fetch`, `WebSocket` and `EventSource`. */
export class Network {
  #isCut = false;
  #blocksWebSockets = false;
  #lines = new Set();

  fetch = (input, init) => (this.#isCut ? Promise.reject(new TypeError("The network is cut.")) : fetch(input, init));

  WebSocket = this.#kind((...how) => (this.#blocksWebSockets ? null : new WebSocket(...how)));

  EventSource = this.#kind((...how) => new EventSource(...how));

  /** Lose all connections, and let nothing through until it is mended. */
  cut() {
    this.#isCut = true;
    this.#lose();
  }

  /** Let everything through again, and say so as a browser does. */
  mend() {
    this.#isCut = false;
    dispatchEvent(new Event("online"));
  }

  /** Be one of the networks on which a WebSocket never opens. */
  blockWebSockets() {
    this.#blocksWebSockets = true;
    this.#lose();
  }

  /** Return what can be called with `new`, and gives a connection, or one that is lost before it opens. */
  #kind(open) {
    const network = this;
    return function line(...how) {
      const opened = network.#isCut ? null : open(...how);
      const made = opened ?? { close() {}, send() {} };
      if (opened) network.#lines.add(made);
      else setTimeout(() => lose(made));
      return made;
    };
  }

  #lose() {
    for (const line of this.#lines) lose(line);
    this.#lines.clear();
  }
}

/** Close a connection, and tell its owner what a browser tells when the other side is gone. */
function lose(line) {
  const owner = line.onclose ?? line.onerror;
  line.onclose = line.onerror = line.onmessage = null;
  line.close();
  owner?.call(line, { code: 1006, reason: "" });
}
