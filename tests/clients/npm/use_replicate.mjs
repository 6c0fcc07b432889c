// Runs models with replicate and @ai-sdk/replicate. Arguments: address of the server, a key, a webhook's address.
import assert from "node:assert/strict";
import { createReplicate } from "@ai-sdk/replicate";
import Replicate, { parseProgressFromLogs } from "replicate";

const [server, key, webhook] = process.argv.slice(2);
const replicate = new Replicate({ auth: key, baseUrl: `${server}/v1` });
const model = "me/tiny-image";
const isPng = (bytes) => assert.deepEqual([...bytes.subarray(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
const fetched = async (url) => {
  const response = await fetch(url);
  assert.equal(response.status, 200);
  return Buffer.from(await response.arrayBuffer());
};
const refused = async (call, status, words) =>
  assert.rejects(call, (error) => {
    assert.equal(error.response?.status ?? error.statusCode, status);
    assert.match(error.message, words);
    return true;
  });

// Run, and wait in both ways.
const input = { prompt: "a red circle", seed: 7, num_inference_steps: 3, width: 48, height: 64 };
const [url] = await replicate.run(model, { input });
const picture = await fetched(url);
isPng(picture);
const [file] = await replicate.run(model, { input: { ...input, output_data_uri: true } });
isPng(Buffer.from(await (await file.blob()).arrayBuffer()));
const seen = [];
const wait = { mode: "poll", interval: 50 };
await replicate.run(model, { input: { ...input, num_inference_steps: 150 }, wait }, (prediction) =>
  seen.push(parseProgressFromLogs(prediction)?.current ?? 0),
);
assert.equal(seen.at(-1), 150);
assert(seen.some((step) => step > 0 && step < 150), `progress: ${seen}`);
const found = await replicate.models.get("me", "tiny-image");
const [byVersion] = await replicate.run(`${model}:${found.latest_version.id}`, { input });
isPng(await fetched(byVersion));
assert.equal((await replicate.models.versions.list("me", "tiny-image")).results.length, 1);

// Files.
const uploaded = await replicate.files.create(new Blob([picture], { type: "image/png" }), { a: 1 });
assert.deepEqual((await replicate.files.get(uploaded.id)).metadata, { a: 1 });
for (const image of [uploaded.urls.get, picture]) {
  const edited = await replicate.predictions.create({ model, input: { ...input, image, prompt_strength: 0.5 }, wait: 60 });
  assert.equal(edited.status, "succeeded", edited.error);
  assert.equal(edited.input.prompt_strength, 0.5);
}
assert((await replicate.files.list()).results.length >= 1);
assert(await replicate.files.delete(uploaded.id));
await refused(() => replicate.files.get(uploaded.id), 404, /does not exist/);

// Follow, stop, list.
const events = [];
for await (const event of replicate.stream(model, { input: { ...input, num_inference_steps: 40 } })) events.push(event);
assert.deepEqual(events.slice(-2).map((event) => event.event), ["output", "done"]);
isPng(await fetched(`${events.at(-2).data}`));
const endless = await replicate.predictions.create({ model, input: { prompt: "it is stopped", num_inference_steps: 100000 } });
assert.equal((await replicate.predictions.cancel(endless.id)).status, "canceled");
const pages = [];
for await (const page of replicate.paginate(replicate.predictions.list)) pages.push(...page);
assert.equal(new Set(pages.map((prediction) => prediction.id)).size, pages.length);
assert(pages.some((prediction) => prediction.id === endless.id));

// Errors.
await refused(() => replicate.run(model, { input: { ...input, num_inference_steps: 0 } }), 422, /num_inference_steps/);
await refused(() => replicate.run("me/nothing", { input }), 404, /does not exist/);
await refused(() => new Replicate({ auth: "wrong", baseUrl: `${server}/v1` }).run(model, { input }), 401, /unknown/);
await assert.rejects(() => replicate.run("me/broken", { input }), /could not be loaded/);

// The AI SDK.
const provider = createReplicate({ apiToken: key, baseURL: `${server}/v1` });
const options = { prompt: "a red circle", n: 1, size: "48x64", seed: 7, providerOptions: { replicate: { num_inference_steps: 3 } } };
const { images, warnings } = await provider.image(model).doGenerate(options);
assert.deepEqual([images.length, warnings], [1, []]);
isPng(images[0]);
const slow = { replicate: { num_inference_steps: 300, maxWaitTimeInSeconds: 1, pollIntervalMillis: 50 } };
isPng((await provider.image(model).doGenerate({ ...options, providerOptions: slow })).images[0]);
const files = [{ type: "file", data: new Uint8Array(picture), mediaType: "image/png" }];
isPng((await provider.image(model).doGenerate({ ...options, files })).images[0]);
await refused(() => provider.image("me/nothing").doGenerate(options), 404, /does not exist/);
await assert.rejects(() => provider.image("me/broken").doGenerate(options), /could not be loaded/);
const video = provider.video("me/tiny-video");
const started = await video.doStart({ prompt: "a star", fps: 8, duration: 2, providerOptions: {}, webhookUrl: webhook });
let status;
do {
  await new Promise((resolve) => setTimeout(resolve, 50));
  status = await video.doStatus({ operation: started.operation, providerOptions: {} });
} while (status.status === "pending");
assert.equal(status.status, "completed");
assert.equal((await fetched(status.videos[0].url)).subarray(4, 8).toString(), "ftyp");
console.log(status.providerMetadata.replicate.predictionId);
