// Invests as a client should, with code that is generated from Moa's own OpenAPI documents: with an idempotency key, again when an
// answer is lost, and follows what becomes of it.
//
//     npm ci && npm run story -- USER PRODUCT_ID AMOUNT [--lose-answer]
//
// "story" generates the client from the Moa that runs, so it fits that Moa; type-checks this file against it; and runs it.
// --lose-answer hangs up on the first answer unread, to show that the request sent again is not a second invest.

import { setTimeout as pause } from "node:timers/promises";
import { client as reads } from "./generated/read/client.gen.js";
import { getMyInvest, listProducts, streamMyInvests } from "./generated/read/index.js";
import type { GetMyInvestResponse } from "./generated/read/index.js";
import { client as writes } from "./generated/write/client.gen.js";
import { invest } from "./generated/write/index.js";

// What an invest looks like in a read and in an event: the data of the envelope, when there is any.
type Invest = NonNullable<GetMyInvestResponse["data"]>;

const READ = process.env.MOA_READ_URL ?? "http://127.0.0.1:8080";
const WRITE = process.env.MOA_WRITE_URL ?? "http://127.0.0.1:8081";
const MAX_ATTEMPTS = 5, RETRY_MS = 1_000, ANSWER_TIMEOUT_MS = 15_000, FATE_TIMEOUT_MS = 60_000;
reads.setConfig({ baseUrl: READ });
writes.setConfig({ baseUrl: WRITE });

function fail(why: string): never {
  console.error(why);
  process.exit(1);
}

// Every call comes back as { data, error, response }. A refusal by a product's rules is 200, so it is data; other refusals are error,
// and both are an envelope. Without an answer there is no response.
function dataOf<T>(answer: { data?: { data: T | null; code: string; message: string | null }; error?: unknown }): T {
  const envelope = answer.data;
  if (envelope?.code === "01" && envelope.data !== null) return envelope.data;
  fail(envelope ? `refused: ${envelope.code}: ${envelope.message}` : `no data: ${JSON.stringify(answer.error)}`);
}

// Gets an answer, and hangs up before anybody has read it.
async function hangUp(request: RequestInfo | URL): Promise<Response> {
  const answer = await fetch(request);
  await answer.body?.cancel();
  throw new Error("hung up");
}

// The final answer. The key makes it safe to ask again: 429 and 503 and no answer at all are no final ones.
async function investSurely(user: string, productId: number, investAmount: number, losesAnswer: boolean) {
  const headers = { "X-USER-ID": user, "Idempotency-Key": crypto.randomUUID() };
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    const answer = await invest({
      body: { productId, investAmount },
      headers,
      fetch: losesAnswer && attempt === 0 ? hangUp : fetch,
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    // The generated type leaves out that nobody may have answered.
    const response: Response | undefined = answer.response;
    if (response && response.status !== 429 && response.status !== 503) return { answer, headers: response.headers };
    console.error(`no answer (${response?.status ?? answer.error}): asking again with the same key`);
    await pause(Number(response?.headers.get("Retry-After") ?? 1) * RETRY_MS);
  }
  fail(`no answer after ${MAX_ATTEMPTS} attempts; is Moa at ${WRITE}?`);
}

// The invest once it has its fate. The generated stream reads with fetch, as EventSource cannot send X-USER-ID, and connects again by
// itself when it breaks, with the last event's id. When it ends, because a process stops, another begins with the state of now.
async function follow(user: string, investId: string): Promise<Invest> {
  const following = new AbortController();
  const signal = AbortSignal.any([following.signal, AbortSignal.timeout(FATE_TIMEOUT_MS)]);
  try {
    while (!signal.aborted) {
      const onSseError = (error: unknown) => console.error(`the stream broke (${error}): following again`);
      const { stream } = await streamMyInvests({ headers: { "X-USER-ID": user }, signal, onSseError });
      // The document says that an event's data is text, which it is: here it has been parsed.
      for await (const shown of stream as AsyncIterable<unknown> as AsyncIterable<Invest>) {
        if (shown.investId === investId && shown.state !== "RESERVED") return shown;
      }
      await pause(RETRY_MS);
    }
  } finally {
    following.abort(); // else its connection stays open, and the program with it
  }
  fail(`${investId} is reserved; what becomes of it shows later at ${READ}/api/invest/log/${investId}`);
}

const words = process.argv.slice(2).filter(word => word !== "--lose-answer");
const [user, product, amount] = [words[0], Number(words[1]), Number(words[2])];
if (words.length !== 3 || !user || !Number.isSafeInteger(product) || !Number.isSafeInteger(amount)) {
  fail("say who, in what and how much: npm run story -- USER PRODUCT_ID AMOUNT [--lose-answer]");
}

for (const { productId, title, currentInvestingAmount, totalInvestingAmount } of dataOf(await listProducts()).list) {
  console.log(`open: ${productId} ${title}, ${currentInvestingAmount} of ${totalInvestingAmount}`);
}

const { answer, headers } = await investSurely(user, product, amount, process.argv.includes("--lose-answer"));
dataOf(answer);
const investId = headers.get("X-Invest-Id") ?? fail("the answer names no invest");
console.log(`accepted: ${investId} ${headers.has("Idempotency-Replayed") ? "replayed" : "first answer"}`);

// With the token the invest is there at once, wherever it is read.
const token = headers.get("X-Consistency-Token") ?? undefined;
const shown = dataOf(await getMyInvest({ path: { investId }, headers: { "X-USER-ID": user, "X-Consistency-Token": token } }));
console.log(`read: ${shown.investAmount} in ${shown.title}, ${shown.state}`);
console.log(`followed: ${(await follow(user, investId)).state}`);
