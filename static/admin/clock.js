// The server's time, as its answers tell it: that of this machine may be another.

let ahead = 0; // seconds

/** Take note of what time it is at the server; Unix seconds. */
export function learn(at) {
  ahead = at - Date.now() / 1000;
}

/** The server's time; Unix seconds. */
export const now = () => Date.now() / 1000 + ahead;
