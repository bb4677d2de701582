// A page in TypeScript: compiled, not run, so that the types say what the module does.

import { CLOSE, connect, explain, WshttpError, type After, type Client, type Member, type Session } from "wshttp";

interface Line {
  text: string;
}

const client: Client = connect({ application: "chat", remember: "tab", queue: 20, staleAfter: 30 });

client.on("session", (session: Session) => {
  const left: number | null = session.expiresIn();
  const name: string = session.user ?? session.ref ?? "nobody";
  console.log(name, session.roles.join(), left === null ? "for ever" : Math.ceil(left));
});
client.on("expiring", ({ seconds }) => console.log(seconds.toFixed()));
client.on("ended", ({ reason, text }) => console.log(reason === "logout" ? "bye" : text));
client.on("close", ({ code, why, again }) => console.log(code, why, again ? "comes back" : "stays away"));
client.on("state", ({ state, via }) => console.log(state, via, client.socket.retryIn()));
client.on("gap", ({ topic, missed }) => console.log(topic ?? "for this session", missed ?? "some"));
client.on("error", (error: WshttpError) => console.log(error.code, error.retryAfter));

const stop: () => void = client.on("message", (message) => {
  if (message.topic === null) console.log(message.queued, message.data);
  else console.log(message.from?.user, message.offset);
});

async function chat(after?: After): Promise<void> {
  const members: Member[] = await client.subscribe<Line>("chat", ({ text }, { from }) => console.log(from?.user, text), {
    after,
  });
  const receivers: number = await client.publish("chat", { text: `hello, ${members.length}` });
  const answer = await client.request<{ sum: number }>({ add: [1, receivers] }, { timeout: 5 });
  console.log(answer.sum, client.members("chat").map(({ ref }) => ref));
  client.unsubscribe("chat");
}

async function logIn(user: string, password: string): Promise<void> {
  try {
    await client.login(user, password);
    await chat();
  } catch (error) {
    if (error instanceof WshttpError && error.code === "bad-credentials") console.log("wrong user or password");
    else throw error;
  }
}

async function leave(): Promise<void> {
  const response: Response = await client.fetch("/report", { method: "POST" });
  console.log(response.status, explain(4002).text, CLOSE.length);
  await client.touch();
  stop();
  await client.endSession();
  client.close();
}

// @ts-expect-error: there is no such event
client.on("opened", () => {});
// @ts-expect-error: a session is not remembered on a disk
connect({ remember: "disk" });
// @ts-expect-error: what is known is not for pages to change
client.session.user = "ada";

// @ts-expect-error: a place, or the beginning
void client.subscribe("chat", () => {}, { after: "end" });

void logIn("ada", "secret").then(() => chat({ life: "1", offset: 2 })).then(leave);
