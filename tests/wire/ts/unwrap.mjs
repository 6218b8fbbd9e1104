// Verify one webhook as the official TypeScript SDK does.
// Usage: node unwrap.mjs < {"body","headers","key"}; prints the type of the event.
import { readFileSync } from 'node:fs';
import Anthropic from '@anthropic-ai/sdk';

const { body, headers, key } = JSON.parse(readFileSync(0, 'utf8'));
const client = new Anthropic({ apiKey: 'none' });
const event = client.beta.webhooks.unwrap(body, { headers, key });
console.log(event.data.type, event.data.id);
