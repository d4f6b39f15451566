// Fills a queue of BullMQ, empties it with one worker, and prints how many jobs a second that were. Each stores its result.
import { Queue, Worker } from "bullmq";

const [port, count] = process.argv.slice(2).map(Number);
const connection = { host: "127.0.0.1", port };
const queue = new Queue("divide", { connection });
for (let sent = 0; sent < count; sent += 1000) {
  await queue.addBulk(Array.from({ length: 1000 }, () => ({ name: "divide", data: [1, 2] })));
}

const worker = new Worker("divide", async ({ data: [x, y] }) => x / y, { connection, concurrency: 100, autorun: false });
await worker.waitUntilReady();
let done = 0;
const begin = process.hrtime.bigint();
const finished = new Promise((resolve) => worker.on("completed", () => ++done === count && resolve()));
worker.run();
await finished;
console.log((count * 1e9) / Number(process.hrtime.bigint() - begin));
await worker.close();
await queue.close();
