// When to ask again for what is shown: soon after something happened, now and then in any case, never unseen.

const SOON = 1500; // milliseconds

export class Refresh {
  every = 10_000; // milliseconds
  isCostly = false; // what it asks for takes the server long: what happens is then no reason to ask sooner
  #asked = 0;
  #wanted = 0; // since when

  /** `isShown` says whether anybody sees what `again` brings. */
  constructor(again, { isShown }) {
    Object.assign(this, { again, isShown });
    all.add(this);
  }

  soon() {
    this.#wanted ||= performance.now();
  }

  look(now) {
    if (!this.isShown()) return;
    const isDue = this.#wanted && !this.isCostly ? now - this.#wanted >= SOON : now - this.#asked >= this.every;
    if (!isDue) return;
    [this.#asked, this.#wanted] = [now, 0];
    this.again();
  }
}

const all = new Set();

/** Look what is due. */
export function refreshAll() {
  for (const each of all) each.look(performance.now());
}
