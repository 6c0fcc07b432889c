// Generates and edits with @huggingface/inference. Arguments: address of the server, a key.
import assert from "node:assert/strict";
import { InferenceClient } from "@huggingface/inference";

const [server, key] = process.argv.slice(2);
const client = new InferenceClient(key);
const at = (model) => ({ endpointUrl: `${server}/hf/${model}` });
const sizeOf = async (blob) => {
  const data = new DataView(await blob.arrayBuffer());
  assert.equal(data.getUint32(0), 0x89504e47); // a PNG
  return [data.getUint32(16), data.getUint32(20)];
};
const newest = async () => {
  const response = await fetch(`${server}/v1/jobs?limit=1`, { headers: { Authorization: `Bearer ${key}` } });
  return (await response.json()).jobs[0];
};
const refused = async (call, status, words) =>
  assert.rejects(call, (error) => {
    assert.equal(error.httpResponse.status, status);
    assert.match(error.message, words);
    return true;
  });

const parameters = { negative_prompt: "blur", width: 48, height: 64, num_inference_steps: 3, guidance_scale: 2.5, seed: 7 };
const picture = await client.textToImage({ ...at("tiny-image"), inputs: "a red circle", parameters });
assert.deepEqual(await sizeOf(picture), [48, 64]);
const url = await client.textToImage({ ...at("tiny-image"), inputs: "a red circle", parameters }, { outputType: "dataUrl" });
assert.match(url, /^data:image\/jpeg;base64,iVBOR/);  // the client calls every picture a JPEG

const changed = { prompt: "a cat", strength: 0.5, target_size: { width: 64, height: 32 } };
const edited = await client.imageToImage({ ...at("tiny-image"), inputs: picture, parameters: changed });
assert.deepEqual(await sizeOf(edited), [64, 32]);
assert.equal((await newest()).request.kind, "img2img");
await sizeOf(await client.imageToImage({ ...at("tiny-image"), inputs: picture })); // the bytes alone
assert.equal((await newest()).request.kind, "img2img");

const video = await client.request({ ...at("tiny-video"), inputs: "a star", parameters: { num_frames: 17 } });
assert.equal(video.type, "video/mp4");
assert.equal((await newest()).request.frames, 17);

const image = (model, more, options) => client.textToImage({ ...at(model), inputs: "x", ...more }, options);
await refused(() => image("tiny-image", { parameters: { num_inference_steps: 0 } }), 422, /num_inference_steps` must be/);
await refused(() => image("nothing"), 404, /model 'nothing' does not exist/);
await refused(() => new InferenceClient("wrong").textToImage({ ...at("tiny-image"), inputs: "x" }), 401, /unknown/);
await refused(() => image("nowhere", {}, { retry_on_error: false }), 503, /no slot can run it now/);
await refused(() => image("broken"), 500, /could not be loaded/);

// A client that gives up leaves its job, which its repeat receives.
const slow = { ...at("tiny-image"), inputs: "it takes longer than this client waits", parameters: { num_inference_steps: 400 } };
await assert.rejects(() => client.textToImage(slow, { signal: AbortSignal.timeout(1000) }));
const left = (await newest()).id;
await sizeOf(await client.textToImage(slow));
assert.equal((await newest()).id, left);
