// The page: a recording or the microphone in, text with the words on the waveform out.
import { Microphone, remedy } from "./microphone.js";
import { FORMATS, save } from "./transcript.js";
import WaveSurfer from "./vendor/wavesurfer.js";

const at = (id) => document.getElementById(id);
const status = (text) => { at("status").textContent = text; };
const problem = (text) => { at("problem").textContent = text; };
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

let listed = null, models = [], transcript = { text: "", words: [] }, microphone = null, socket = null, surfer = null, stopAt = Infinity;

const headers = () => (at("key").value ? { authorization: `Bearer ${at("key").value}` } : {});
const model = () => models.find(({ id }) => id === at("model").value) ?? models[0];

// Models

async function listModels() {
  const answer = await fetch("/v1/models", { headers: headers() });
  at("key-label").hidden = answer.status !== 401 && !at("key").value;
  if (!answer.ok) return problem(answer.status === 401 ? "This server asks for an API key." : `The server answers ${answer.status}.`);
  problem("");
  models = (await answer.json()).data;
  at("model").replaceChildren(...models.map(({ id }) => new Option(id, id)));
  at("model-label").hidden = models.length < 2;
}

function list() {
  listed = listModels().catch(() => problem("The server cannot be reached: is it still running?"));
}

// Recordings

async function transcribe(blob, name) {
  problem("");
  at("live").hidden = true;
  show({ text: "", words: [] }, blob);
  status(`Sending ${name} …`);
  try {
    await listed;
    const answer = await upload(blob, name);
    show({ text: answer.text, words: answer.words }, null);
    status(answer.text ? `${answer.duration.toFixed(1)} seconds, ${answer.words.length} words` : "No speech was found.");
  } catch (error) {
    status("");
    problem(error.message);
  }
}

function upload(blob, name) {
  const form = new FormData(), request = new XMLHttpRequest(), bar = at("progress");
  form.append("file", blob, name);
  form.append("model", model()?.id ?? "");
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "word");
  return new Promise((resolve, reject) => {
    request.open("POST", "/v1/audio/transcriptions");
    for (const [key, value] of Object.entries(headers())) request.setRequestHeader(key, value);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => { bar.hidden = false; bar.value = loaded / total; };
    request.upload.onload = () => { bar.removeAttribute("value"); status("Listening to it …"); };
    request.onloadend = () => {
      bar.hidden = true;
      bar.value = 0;
      if (request.status === 200) resolve(request.response);
      else reject(new Error(request.response?.error?.message ?? "The server cannot be reached: is it still running?"));
    };
    request.send(form);
  });
}

// The microphone

async function speak() {
  if (microphone) return stop();
  await listed;
  problem("");
  at("result").hidden = true;
  const live = model()?.streaming;
  transcript = { text: "", words: [] };
  showLive("", "");
  at("live").hidden = !live;
  try {
    microphone = await Microphone.open((samples) => { if (socket?.readyState === 1) socket.send(samples.buffer); },
      (level) => { at("level").value = level; });
  } catch (error) {
    return problem(remedy(error));
  }
  if (live) listen();
  status(live ? "Speak; the text comes while you do." : "Speak, then press Stop: this model needs the whole recording, and writes it afterwards.");
  at("speak").setAttribute("aria-pressed", "true");
  at("speak-text").textContent = "Stop";
  at("level").hidden = false;
}

function listen() {
  const address = new URL(`/?model=${encodeURIComponent(model().id)}`, location.href.replace(/^http/, "ws"));
  const key = at("key").value, protocols = key ? ["realtime", `openai-insecure-api-key.${key}`] : [];
  const rate = microphone.sampleRate;
  socket = new WebSocket(address, protocols);
  socket.onopen = () => socket.send(JSON.stringify({ config: { sample_rate: rate, words: true } }));
  socket.onmessage = ({ data }) => {
    const reply = JSON.parse(data);
    if ("partial" in reply) return showLive(transcript.text, reply.partial);
    if (!reply.text) return;
    const words = (reply.result ?? []).map(({ word, start, end, conf }) => ({ word, start, end, confidence: conf }));
    transcript = { text: [transcript.text, reply.text].filter(Boolean).join(" "), words: [...transcript.words, ...words] };
    showLive(transcript.text, "");
  };
  socket.onclose = ({ wasClean, reason }) => { if (!wasClean || reason) problem(reason || "The connection to the server broke; press Speak again."); };
}

function showLive(committed, tentative) {
  at("committed").textContent = committed;
  at("tentative").textContent = `${committed && tentative ? " " : ""}${tentative}`;
}

async function stop() {
  const open = microphone;
  microphone = null;
  at("speak").setAttribute("aria-pressed", "false");
  at("speak-text").textContent = "Speak";
  at("level").hidden = true;
  const recording = await open.close();
  if (!socket) return transcribe(recording, "recording.wav");
  const closed = new Promise((resolve) => socket.addEventListener("close", resolve));
  if (socket.readyState === 1) {
    socket.send('{"eof" : 1}');
    await closed;
  }
  socket = null;
  at("live").hidden = true;
  show(transcript, recording);
  status(transcript.text ? `${transcript.words.length} words` : "No speech was found.");
}

// The result: waveform and words

function show(found, blob) {
  transcript = found;
  at("result").hidden = false;
  at("downloads").hidden = !found.text;
  at("words").replaceChildren(...found.words.flatMap((word) => [wordButton(word), " "]));
  if (blob) draw(blob);
}

function wordButton(word) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = word.word;
  button.style.opacity = 0.7 + 0.3 * (word.confidence ?? 1);
  button.title = `${word.start.toFixed(2)} to ${word.end.toFixed(2)} s, confidence ${(word.confidence ?? 1).toFixed(2)}`;
  button.addEventListener("click", () => { stopAt = word.end; surfer.setTime(word.start); surfer.play(); });
  return button;
}

function draw(blob) {
  surfer?.destroy();
  surfer = WaveSurfer.create({
    container: at("waveform"), height: 96, barWidth: 2, barGap: 1, barRadius: 2, normalize: true,
    waveColor: style("--wave"), progressColor: style("--accent"), cursorColor: style("--text"),
  });
  surfer.loadBlob(blob).catch(() => status("The browser cannot play this format; the text is there all the same."));
  surfer.on("timeupdate", (time) => {
    if (time >= stopAt) { surfer.pause(); stopAt = Infinity; }
    mark(time);
  });
  surfer.on("interaction", () => { stopAt = Infinity; });
  surfer.on("play", () => { at("play").textContent = "Pause"; });
  surfer.on("pause", () => { at("play").textContent = "Play"; });
}

const wordAt = (time) => transcript.words.findIndex(({ start, end }) => start <= time && time < end);

function mark(time) {
  const place = wordAt(time);
  [...at("words").children].forEach((button, index) => button.classList.toggle("now", index === place));
}

at("waveform").addEventListener("pointermove", ({ clientX }) => {
  const box = at("waveform").getBoundingClientRect(), time = (clientX - box.left) / box.width * (surfer?.getDuration() ?? 0);
  const word = transcript.words[wordAt(time)];
  at("hovered").textContent = `${time.toFixed(1)} s${word ? `: ${word.word}` : ""}`;
});
at("waveform").addEventListener("pointerleave", () => { at("hovered").textContent = ""; });
at("play").addEventListener("click", () => { stopAt = Infinity; surfer?.playPause(); });

// Input

at("speak").addEventListener("click", speak);
at("key").addEventListener("change", list);
at("file").addEventListener("change", ({ target }) => { if (target.files[0]) transcribe(target.files[0], target.files[0].name); target.value = ""; });
for (const button of at("downloads").children)
  button.addEventListener("click", () => save(`transcript.${button.dataset.format}`, FORMATS[button.dataset.format](transcript)));
addEventListener("dragover", (event) => { event.preventDefault(); at("drop").hidden = false; });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("drop").hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").hidden = true;
  const [file] = event.dataTransfer.files;
  if (file) transcribe(file, file.name);
});

list();
