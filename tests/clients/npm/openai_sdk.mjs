// Uses OpenAI's SDK for Node as its users do, and checks what it returns: openai_sdk.mjs BASE_URL KEY.
// It prints the name of each check that has passed.

import assert from "node:assert/strict";
import { Buffer, File } from "node:buffer";
import OpenAI, { toFile } from "openai";

globalThis.File ??= File; // Node 18 has it in a module only
const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAD0lEQVR42mP4jwYYRrYAAID5/wGR6yAaAAAAAElFTkSuQmCC", "base64");

const isPng = (text) => Buffer.from(text, "base64").subarray(1, 4).toString() === "PNG";

const CHECKS = {
  async modelsAreListed() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    assert(names.includes("tiny-image"));
    assert.equal((await client.models.retrieve("gpt-image-2")).id, "gpt-image-2");
  },

  async imagesAreGenerated() {
    const made = await client.images.generate({ model: "tiny-image", prompt: "a red circle", n: 2, size: "32x32", seed: 5 });
    assert(made.data.every((image) => isPng(image.b64_json)));
    assert.deepEqual(made.data.map((image) => image.seed), [5, 6]);
    const { data: [{ url }] } = await client.images.generate({ model: "dall-e-3", prompt: "x", response_format: "url" });
    assert.equal((await fetch(url)).headers.get("content-type"), "image/png");
  },

  async imagesAreEdited() {
    const image = await toFile(PNG, "a.png", { type: "image/png" });
    const made = await client.images.edit({ model: "gpt-image-1", image, mask: image, prompt: "x", n: 1 });
    assert(isPng(made.data[0].b64_json));
    await assert.rejects(client.images.edit({ model: "tiny-image", image: [image, image], prompt: "x" }),
      (error) => error.status === 400 && error.param === "image[]");
  },

  async aStreamHasPreviews() {
    const stream = await client.images.generate(
      { model: "gpt-image-1", prompt: "x", size: "1024x1024", stream: true, partial_images: 2, steps: 60 });
    const types = [];
    for await (const event of stream) types.push(event.type);
    assert.equal(types.at(-1), "image_generation.completed");
    assert(types.includes("image_generation.partial_image"));
  },

  async videosAreMadeListedAndDeleted() {
    let video = await client.videos.create(
      { model: "sora-2", prompt: "x", size: "1280x720", seconds: "2", input_reference: await toFile(PNG, "a.png", { type: "image/png" }) });
    while (["queued", "in_progress"].includes(video.status)) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      video = await client.videos.retrieve(video.id);
    }
    assert.deepEqual([video.status, video.progress, video.error], ["completed", 100, null]);
    const content = Buffer.from(await (await client.videos.downloadContent(video.id)).arrayBuffer());
    assert.equal(content.subarray(4, 8).toString(), "ftyp");
    const ids = [];
    for await (const one of client.videos.list({ limit: 1 })) ids.push(one.id);
    assert.equal(ids[0], video.id);
    assert.equal((await client.videos.delete(video.id)).deleted, true);
    await assert.rejects(client.videos.retrieve(video.id), OpenAI.NotFoundError);
  },

  async errorsHaveTheirClasses() {
    await assert.rejects(client.images.generate({ prompt: "x", n: 11 }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === "n" && error.code === "invalid_value");
    await assert.rejects(client.images.generate({ prompt: "x", model: "gpt-5" }),
      (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
    await assert.rejects(new OpenAI({ baseURL, apiKey: "sk-wrong" }).images.generate({ prompt: "x" }),
      (error) => error instanceof OpenAI.AuthenticationError && error.code === "invalid_api_key");
    await assert.rejects(new OpenAI({ baseURL, apiKey }).images.generate({ prompt: "x", model: "broken" }),
      (error) => error.status === 500 && error.code === "model_load_failed");
  },
};

const only = process.argv.slice(4);
for (const [name, check] of Object.entries(CHECKS)) {
  if (only.length && !only.includes(name)) continue;
  await check();
  console.log(name);
}
