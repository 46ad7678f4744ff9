// The microphone: 16-bit samples as they come, its level, and in the end the whole recording as a WAV file.

const AS_IT_IS = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };

export class Microphone {
  // onSamples gets an Int16Array, onLevel a number from 0 to 1.
  static async open(onSamples, onLevel) {
    const microphone = new Microphone();
    microphone.stream = await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS });
    microphone.context = new AudioContext();
    await microphone.context.audioWorklet.addModule("/static/recorder.js");
    const node = new AudioWorkletNode(microphone.context, "recorder", { numberOfOutputs: 0 });
    microphone.chunks = [];
    node.port.onmessage = ({ data }) => {
      const samples = toInt16(data);
      microphone.chunks.push(samples);
      onLevel(samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0) / 32768);
      onSamples(samples);
    };
    microphone.context.createMediaStreamSource(microphone.stream).connect(node);
    return microphone;
  }

  get sampleRate() { return this.context.sampleRate; }

  async close() {
    for (const track of this.stream.getTracks()) track.stop();
    const rate = this.sampleRate;
    await this.context.close();
    return wav(this.chunks, rate);
  }
}

// One sentence on what to do, for each way in which a browser refuses.
export function remedy(error) {
  if (!navigator.mediaDevices) return "Browsers open the microphone only on localhost or over HTTPS: start the server with --certificate, or open this page on the same machine.";
  if (error.name === "NotAllowedError") return "The microphone is blocked: allow it in the browser's settings for this site, then press Speak again.";
  if (error.name === "NotFoundError") return "There is no microphone: connect one, then press Speak again.";
  return `The microphone cannot be opened: ${error.message}`;
}

function toInt16(parts) {
  const samples = new Int16Array(parts.reduce((size, part) => size + part.length, 0));
  let place = 0;
  for (const part of parts)
    for (const value of part) samples[place++] = Math.max(-32768, Math.min(32767, Math.round(32768 * value)));
  return samples;
}

function wav(chunks, rate) {
  const size = chunks.reduce((total, chunk) => total + chunk.byteLength, 0), header = new DataView(new ArrayBuffer(44));
  const text = (place, letters) => [...letters].forEach((letter, index) => header.setUint8(place + index, letter.charCodeAt(0)));
  text(0, "RIFF"); header.setUint32(4, 36 + size, true); text(8, "WAVEfmt ");
  header.setUint32(16, 16, true); header.setUint16(20, 1, true); header.setUint16(22, 1, true);
  header.setUint32(24, rate, true); header.setUint32(28, 2 * rate, true);
  header.setUint16(32, 2, true); header.setUint16(34, 16, true);
  text(36, "data"); header.setUint32(40, size, true);
  return new Blob([header, ...chunks], { type: "audio/wav" });
}
