// Batches through Vercel's AI SDK: it checks every object against a closed schema and refuses
// results from another origin than its base URL.
// Usage: node vercel.mjs, with ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY set.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { createAnthropic } from '@ai-sdk/anthropic';

const POLL_MS = 20;

const request = (id) => ({
  type: 'text',
  id,
  modelId: 'claude-haiku-4-5',
  options: {
    prompt: [{ role: 'user', content: [{ type: 'text', text: 'Summarize: the night is long.' }] }],
    maxOutputTokens: 32,
  },
});

async function ended(batches, batchId) {
  for (;;) {
    const status = await batches.doGetBatchStatus({ batchId });
    if (status.status !== 'pending') return status;
    await sleep(POLL_MS);
  }
}

async function results(batches, batchId) {
  const found = {};
  for await (const item of await batches.doGetBatchResults({ batchId })) found[item.id] = item;
  return found;
}

const provider = createAnthropic({
  baseURL: `${process.env.ANTHROPIC_BASE_URL}/v1`,
  apiKey: process.env.ANTHROPIC_API_KEY,
});
const batches = provider.experimental_batch();

const started = await batches.doStartBatch({
  requests: [request('good'), request('failing')],
});
assert.deepEqual(started.requestCounts, { total: 2, pending: 2, completed: 0, failed: 0 });
const status = await ended(batches, started.batchId);
assert.equal(status.status, 'completed');
assert.deepEqual(status.requestCounts, { total: 2, pending: 0, completed: 1, failed: 1 });
const found = await results(batches, started.batchId);
assert.equal(found.good.status, 'succeeded');
assert.equal(found.good.result.content[0].type, 'text');
assert.equal(found.failing.status, 'failed');
assert.deepEqual(found.failing.error, {
  message: 'the model said no',
  type: 'invalid_request_error',
});

const held = await batches.doStartBatch({
  requests: Array.from({ length: 200 }, (_, n) => request(`held-${n}`)),
});
await assert.rejects(() => results(batches, held.batchId), /not complete/);
await batches.doCancelBatch({ batchId: held.batchId });
await ended(batches, held.batchId);
const canceled = Object.values(await results(batches, held.batchId));
assert.equal(canceled.length, 200);
assert.ok(canceled.every((item) => item.status === 'cancelled' || item.status === 'succeeded'));
assert.ok(canceled.some((item) => item.status === 'cancelled'));

const listed = [];
let cursor;
do {
  const page = await batches.doListBatches({ limit: 1, cursor });
  listed.push(...page.batches.map((batch) => batch.batchId));
  cursor = page.nextCursor;
} while (cursor !== undefined);
assert.ok(listed.indexOf(held.batchId) < listed.indexOf(started.batchId));
console.log('toured experimental_batch');
