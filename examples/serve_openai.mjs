// Transcribe a recording by a running server, with OpenAI's client for JavaScript (npm install openai):
// node examples/serve_openai.mjs recording.wav http://localhost:8000
import fs from "node:fs";
import OpenAI from "openai";

const [path, address = "http://localhost:8000"] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "none" });
const [{ id }] = (await client.models.list()).data;
const { text } = await client.audio.transcriptions.create({ file: fs.createReadStream(path), model: id });
console.log(text);
