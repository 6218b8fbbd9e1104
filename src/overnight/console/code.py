"""Code to copy from the page: the same small job in four languages.

The texts hold `{{base_url}}` and `{{model}}`, which the page fills in and keeps up to date.
"""

import msgspec

BASE_URL = "{{base_url}}"
MODEL = "{{model}}"


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One program that submits a batch, waits and reads its results."""

    id: str
    label: str
    # What one needs first.
    needs: str
    text: str

    def filled(self, *, base_url: str, model: str) -> str:
        return self.text.replace(BASE_URL, base_url).replace(MODEL, model)


_PYTHON = """\
import time

import anthropic

# The key comes from ANTHROPIC_API_KEY.
client = anthropic.Anthropic(base_url="{{base_url}}")

documents = {"doc-1": "The first text.", "doc-2": "The second text."}

batch = client.messages.batches.create(
    requests=[
        {
            "custom_id": name,
            "params": {
                "model": "{{model}}",
                "max_tokens": 512,
                "messages": [{"role": "user", "content": f"Summarize: {text}"}],
            },
        }
        for name, text in documents.items()
    ]
)

while batch.processing_status != "ended":
    time.sleep(60)
    batch = client.messages.batches.retrieve(batch.id)

# Results come in any order: custom_id says which is whose.
for line in client.messages.batches.results(batch.id):
    if line.result.type == "succeeded":
        print(line.custom_id, line.result.message.content[0].text)
    else:
        print(line.custom_id, line.result.type)
"""

_TYPESCRIPT = """\
import Anthropic from "@anthropic-ai/sdk";

// The key comes from ANTHROPIC_API_KEY.
const client = new Anthropic({ baseURL: "{{base_url}}" });

const documents = { "doc-1": "The first text.", "doc-2": "The second text." };

let batch = await client.messages.batches.create({
  requests: Object.entries(documents).map(([name, text]) => ({
    custom_id: name,
    params: {
      model: "{{model}}",
      max_tokens: 512,
      messages: [{ role: "user", content: `Summarize: ${text}` }],
    },
  })),
});

while (batch.processing_status !== "ended") {
  await new Promise((wake) => setTimeout(wake, 60_000));
  batch = await client.messages.batches.retrieve(batch.id);
}

// Results come in any order: custom_id says which is whose.
for await (const line of await client.messages.batches.results(batch.id)) {
  if (line.result.type !== "succeeded") {
    console.log(line.custom_id, line.result.type);
    continue;
  }
  const [block] = line.result.message.content;
  console.log(line.custom_id, block?.type === "text" ? block.text : block?.type);
}
"""

_CURL = """\
api() {
  curl --fail-with-body --silent --show-error "$@" \\
    --header "x-api-key: $ANTHROPIC_API_KEY" \\
    --header "anthropic-version: 2023-06-01" \\
    --header "content-type: application/json"
}

id=$(api "{{base_url}}/v1/messages/batches" --data '{
  "requests": [{
    "custom_id": "doc-1",
    "params": {
      "model": "{{model}}",
      "max_tokens": 512,
      "messages": [{"role": "user", "content": "Summarize: The first text."}]
    }
  }]
}' | grep -o 'msgbatch_[A-Za-z0-9]*' | head -n 1)

until api "{{base_url}}/v1/messages/batches/$id" | grep -q '"ended"'; do
  sleep 60
done

api "{{base_url}}/v1/messages/batches/$id/results"
"""

_COMMANDS = """\
export ANTHROPIC_BASE_URL={{base_url}}

cat > requests.jsonl <<'END'
{"custom_id": "doc-1", "params": {"model": "{{model}}", "max_tokens": 512, \
"messages": [{"role": "user", "content": "Summarize: The first text."}]}}
END

overnight estimate requests.jsonl
id=$(overnight batches create requests.jsonl)
overnight watch "$id"
overnight batches results "$id" --out results.jsonl
"""

SAMPLES = (
    Sample(id="python", label="Python", needs="pip install anthropic", text=_PYTHON),
    Sample(
        id="typescript", label="TypeScript", needs="npm install @anthropic-ai/sdk", text=_TYPESCRIPT
    ),
    Sample(id="curl", label="curl", needs="nothing else", text=_CURL),
    Sample(id="commands", label="Command line", needs="pip install overnight", text=_COMMANDS),
)
