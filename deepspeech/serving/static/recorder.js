// Passes what the microphone hears to the page, an eighth of a second at a time.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.parts = [];
    this.size = 0;
  }

  process([[channel]]) {
    if (channel) {
      this.parts.push(channel.slice());
      this.size += channel.length;
      if (this.size >= sampleRate / 8) {
        this.port.postMessage(this.parts);
        this.parts = [];
        this.size = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
