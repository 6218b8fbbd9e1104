// Everything a caller does with batches, through the official TypeScript SDK.
// Usage: node tour.mjs, with ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY set.
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import Anthropic from '@anthropic-ai/sdk';

const COUNT = 5;
const POLL_MS = 20;

const row = (customId, params = {}) => ({
  custom_id: customId,
  params: {
    model: 'claude-haiku-4-5',
    max_tokens: 32,
    messages: [{ role: 'user', content: 'Summarize: the night is long.' }],
    ...params,
  },
});

async function ended(batches, id) {
  for (;;) {
    const batch = await batches.retrieve(id);
    if (batch.processing_status === 'ended') return batch;
    await sleep(POLL_MS);
  }
}

async function collect(iterable) {
  const found = [];
  for await (const item of iterable) found.push(item);
  return found;
}

async function refused(kind, status, call) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof kind, `${error}`);
    assert.equal(error.status, status);
    assert.match(error.requestID, /^req_/);
    assert.equal(error.error.request_id, error.requestID);
    return true;
  });
}

async function createAndRead(batches) {
  const created = [];
  for (let n = 0; n < COUNT; n += 1) {
    created.push(await batches.create({ requests: [row('a'), row('b', { max_tokens: 0 })] }));
  }
  assert.deepEqual(Object.keys(created[0]), [
    'id', 'type', 'processing_status', 'request_counts', 'ended_at', 'created_at', 'expires_at',
    'archived_at', 'cancel_initiated_at', 'results_url',
  ]);
  for (const { id } of created) {
    const batch = await ended(batches, id);
    assert.deepEqual(batch.request_counts, {
      processing: 0, succeeded: 1, errored: 1, canceled: 0, expired: 0,
    });
    const lines = await collect(await batches.results(id));
    const results = Object.fromEntries(lines.map((line) => [line.custom_id, line.result]));
    assert.equal(results.a.message.usage.service_tier, 'batch');
    assert.equal(results.b.error.error.type, 'invalid_request_error');
  }
  return created.map((batch) => batch.id);
}

async function page(batches, ids) {
  const newestFirst = [...ids].reverse();
  const listed = (await collect(batches.list({ limit: 2 }))).map((batch) => batch.id);
  assert.deepEqual(listed.filter((id) => ids.includes(id)), newestFirst);
  const first = await batches.list({ limit: 2, before_id: newestFirst.at(-1) });
  assert.deepEqual(first.data.map((batch) => batch.id), newestFirst.slice(-3, -1));
  const newer = await collect(batches.list({ limit: 2, before_id: newestFirst.at(-1) }));
  assert.deepEqual(newer.map((batch) => batch.id).sort(), newestFirst.slice(0, -1).sort());
}

async function cancelAndDelete(batches, ids) {
  const held = await batches.create({ requests: [row('held-1'), row('held-2')] });
  await refused(Anthropic.BadRequestError, 400, () => batches.delete(held.id));
  const canceling = await batches.cancel(held.id);
  assert.notEqual(canceling.cancel_initiated_at, null);
  await ended(batches, held.id);
  assert.equal((await collect(await batches.results(held.id))).length, 2);
  for (const id of [held.id, ...ids]) {
    assert.deepEqual({ ...(await batches.delete(id)) }, { id, type: 'message_batch_deleted' });
    await refused(Anthropic.NotFoundError, 404, () => batches.retrieve(id));
  }
}

const client = new Anthropic({ maxRetries: 0 });
for (const [name, batches] of [
  ['messages.batches', client.messages.batches],
  ['beta.messages.batches', client.beta.messages.batches],
]) {
  const ids = await createAndRead(batches);
  await page(batches, ids);
  await cancelAndDelete(batches, ids);
  await refused(Anthropic.BadRequestError, 400, () => batches.create({ requests: [] }));
  console.log(`toured ${name}`);
}
const stranger = new Anthropic({ apiKey: 'sk-wrong', maxRetries: 0 });
await refused(Anthropic.AuthenticationError, 401, () => stranger.messages.batches.list());
