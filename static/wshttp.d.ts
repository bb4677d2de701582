// The types of wshttp.js; docs/reference/client.md says what it does.

/** What JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Why a session ended. */
export type Reason = "logout" | "idle" | "absolute" | "replaced" | "limit" | "admin" | "credentials" | "shutdown";

/** Where a client's session is remembered: `nothing`, `tab` and `browser` are for header identity. */
export type Remember = "nothing" | "tab" | "browser" | "cookie";

/** One row of `CLOSE`. */
export interface CloseRow {
  readonly code: number;
  /** As it comes over the wire; empty where nothing is said. */
  readonly reason: string;
  readonly again: "at once" | "soon" | "later" | "never";
  /** For a person. */
  readonly text: string;
}

export const CLOSE: readonly CloseRow[];
export const TYPES: { readonly received: readonly string[]; readonly sent: readonly string[] };
export const EVENTS: readonly EventName[];

/** Return what a close code means. */
export function explain(code: number, reason?: string): CloseRow;

/** Names of problems on the wire, and this module's own. */
export type ErrorCode =
  | "session-ended"
  | "bad-credentials"
  | "forbidden"
  | "not-found"
  | "bad-request"
  | "too-many-requests"
  | "limit-reached"
  | "store-unavailable"
  /** Any other status of HTTP. */
  | "http"
  /** The server gave no answer, or not all of it in time. */
  | "unreachable"
  /** The connection was lost before an answer came: nobody knows whether the message arrived. */
  | "connection-lost"
  /** Too much waits for a connection, or for room on it. */
  | "queue-full"
  /** No answer came in time. */
  | "timeout"
  /** There is no connection, and none is waited for. */
  | "closed";

export class WshttpError extends Error {
  readonly code: ErrorCode;
  /** Of HTTP. */
  readonly status: number | null;
  /** Of an ended session; `renewed` for a token that a log-in replaced. */
  readonly reason: Reason | "renewed" | null;
  /** Seconds. */
  readonly retryAfter: number | null;
}

/** This page's session, as far as it is known; `ref` is `null` where there is none. */
export interface Session {
  readonly ref: string | null;
  readonly user: string | null;
  readonly roles: readonly string[];
  /** By what the server recognises this client. */
  readonly identity: "cookie" | "header" | "url" | "ip" | "credentials" | "app" | null;
  readonly createdAt: Date | null;
  /** Open connections of the session, in all tabs. */
  readonly connections: number;
  /** Seconds until it ends if nothing happens, not rounded; `null` for never, or no session. */
  expiresIn(): number | null;
  /** Seconds until it ends whatever happens. */
  absoluteExpiresIn(): number | null;
}

export type State = "closed" | "connecting" | "open" | "waiting";
export type Via = "websocket" | "stream";

/** What the server has, as its `welcome` says. The client heeds `ping` and `stream`; the others are for the page. */
export interface Offers {
  readonly login?: boolean;
  readonly topics?: readonly string[];
  readonly ticket?: boolean;
  readonly stream?: boolean;
  readonly history?: number;
  readonly ping?: boolean;
}

export interface Socket {
  readonly state: State;
  readonly via: Via | null;
  /** In words, why it is not open. */
  readonly why: string | null;
  /** Its name on the server. */
  readonly connection: string | null;
  readonly offers: Offers;
  /** Seconds until the next attempt; `null` where none is waited for. */
  retryIn(): number | null;
  /** Open it now, whatever closed it. */
  open(): void;
}

export interface Sender {
  readonly ref: string;
  readonly user: string | null;
}

export interface Member extends Sender {
  readonly connections?: number;
}

/** A place in a topic's history. */
export interface Place {
  readonly life: string;
  readonly offset: number;
}

/** From where a topic is heard: a place, or the beginning of all that is kept of it. Without one, from now. */
export type After = Place | "beginning";

/** Something published on a topic. `life` and `offset` are there where the topic has a history. */
export interface TopicMessage<Data = Json> extends Partial<Place> {
  readonly topic: string;
  readonly data: Data;
  /** `null` for the server. */
  readonly from: Sender | null;
}

/** Something for this session alone; `queued`: it has waited for this connection. */
export interface SessionMessage<Data = Json> {
  readonly topic: null;
  readonly data: Data;
  readonly from: null;
  readonly queued: boolean;
}

export interface Events {
  /** The facts of the session changed, or it is over. */
  session: Session;
  expiring: { readonly seconds: number };
  /** `reason` is `null` where nobody said why. */
  ended: {
    readonly ref: string;
    readonly user: string | null;
    readonly reason: Reason | null;
    readonly text: string;
  };
  open: { readonly connection: string; readonly via: Via; readonly offers: Offers };
  /** `again`: it comes back by itself. */
  close: { readonly code: number; readonly reason: string; readonly why: string; readonly again: boolean };
  state: { readonly state: State; readonly via: Via | null; readonly why: string | null };
  message: TopicMessage | SessionMessage;
  presence: { readonly topic: string; readonly members: readonly Member[] };
  joined: { readonly topic: string; readonly member: Member };
  left: { readonly topic: string; readonly member: Member };
  /** `whole`: nothing was missed; from the beginning, all that is kept has come. */
  resumed: Place & { readonly topic: string; readonly whole: boolean };
  /** Something was missed for good, on a topic or (`null`) of what was for this session; `null` where nobody knows how many. */
  gap: { readonly topic: string | null; readonly missed: number | null };
  /** A call failed, or the server refused something. */
  error: WshttpError;
}

export type EventName = keyof Events;

export type Listener<Data = Json> = (data: Data, message: TopicMessage<Data>) => void;

/** Like `sessionStorage`. */
export interface StorageArea {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** Like `BroadcastChannel`. */
export interface TabChannel {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown): void;
  close(): void;
}

/** Unix milliseconds, and timers. */
export interface Clock {
  now(): number;
  setTimeout(call: () => void, milliseconds: number): unknown;
  clearTimeout(handle: any): void;
}

export interface Options {
  /** Origin of the server; that of the page by default. */
  base?: string | undefined;
  /** `api.prefix` of the server; `/wshttp` by default. */
  prefix?: string | undefined;
  /** Keeps applications on one origin apart: begins the names of what is stored, and of the channel between tabs. */
  application?: string | undefined;
  /** `cookie` by default, `nothing` where `identity` is `header`. */
  remember?: Remember | undefined;
  /** Follows from `remember` where it is not given. */
  identity?: "cookie" | "header" | undefined;
  /** `session.header.name` of the server; `Authorization` by default. With another one `fetch` follows no redirects. */
  header?: string | undefined;
  /** Whether to open a socket at all; `true` by default. */
  socket?: boolean | undefined;
  /** End the session when the page is left; a reload leaves it too. `false` by default. */
  endOnLeave?: boolean | undefined;
  /** Messages that may wait for a connection, and for room on it; 100 by default. */
  queue?: number | undefined;
  /** Seconds that `request` waits; 10 by default. Everything else waits for 60, from when it was sent. */
  timeout?: number | undefined;
  /** Seconds before its end at which a page without a socket is warned; 60 by default. */
  warnBefore?: number | undefined;
  /** Seconds of silence after which the server is asked for a sign of life; 45 by default. */
  staleAfter?: number | undefined;

  // For tests, and for places other than a browser. What is not given is taken from `window`.
  window?: any;
  WebSocket?: (new (url: string, protocols?: string | string[]) => any) | undefined;
  /** `null`: never fall back to server-sent events. */
  EventSource?: (new (url: string) => any) | null | undefined;
  fetch?: ((input: any, init?: any) => Promise<Response>) | undefined;
  storage?: StorageArea | null | undefined;
  /** `null`: say nothing to other tabs. */
  channel?: TabChannel | null | undefined;
  clock?: Clock | undefined;
  random?: (() => number) | undefined;
}

/** Begin: find out who this page is, and open its socket. */
export function connect(options?: Options): Client;

export interface Client {
  readonly session: Session;
  readonly socket: Socket;

  /** Call `listener` for every event of this name; the returned function stops that. */
  on<Name extends EventName>(name: Name, listener: (event: Events[Name]) => void): () => void;

  /** Start a session, or take the one there is, and open the socket. */
  start(): Promise<Session>;
  /** Log in, and come back as that user. */
  login(user: string, password: string): Promise<Session>;
  /** Keep the session alive. */
  touch(): Promise<Session>;
  /** End the session, in all tabs: log out. */
  endSession(): Promise<void>;
  /** `fetch`, as this session. */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;

  /** Be in a topic, now and whenever the connection comes back. Resolves with its members. */
  subscribe<Data = Json>(topic: string, listener: Listener<Data>, options?: { after?: After | undefined }): Promise<Member[]>;
  /** Take a listener out of a topic, or all; the last one leaves it. */
  unsubscribe(topic: string, listener?: Listener<any>): void;
  /** Publish on a topic. Resolves with how many connections received it. */
  publish(topic: string, data: unknown): Promise<number>;
  /** Who is in a topic, as far as is known here. */
  members(topic: string): Member[];

  /** Send something to the application's `on_message`. Resolves when it has been handled. */
  send(data: unknown): Promise<void>;
  /** The same, for its answer; `timeout` is in seconds. */
  request<Answer = Json>(data: unknown, options?: { timeout?: number | undefined }): Promise<Answer>;

  /** Close everything for good. The session lives on. */
  close(): void;
}
